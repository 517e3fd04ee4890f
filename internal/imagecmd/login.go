package imagecmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gcr/internal/image/reference"
	"gcr/internal/image/registry"
	"gcr/internal/image/settings"
)

// key is the name that a registry has in Docker's configuration.
func key(host string) string {
	if host == reference.Hub {
		return authn.DefaultAuthKey
	}
	return host
}

func hostArg(args []string) string {
	if len(args) == 0 {
		return reference.Hub
	}
	h := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(args[0], "https://"), "http://"), "/")
	if h == "index.docker.io" || h == "index.docker.io/v1" || h == "registry-1.docker.io" {
		return reference.Hub
	}
	return h
}

func login() *cobra.Command {
	var user, password string
	var stdin bool
	c := &cobra.Command{
		Use: "login [REGISTRY]", Short: "Remember user name and password for a registry", Args: cobra.MaximumNArgs(1),
		Long: "Check user name and password at a registry (default docker.io), and keep them where Docker does: in the credential helper that ~/.docker/config.json names, or in that file.",
		RunE: func(c *cobra.Command, args []string) error {
			host := hostArg(args)
			if stdin {
				if user == "" {
					return errors.New("log in: --password-stdin needs --username")
				}
				if password != "" {
					return errors.New("log in: --password and --password-stdin exclude each other")
				}
				b, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 64<<10))
				if err != nil {
					return fmt.Errorf("log in: %w", err)
				}
				password = strings.TrimRight(string(b), "\r\n")
			}
			if err := ask(c, &user, &password); err != nil {
				return err
			}
			set, err := settings.Load()
			if err != nil {
				return err
			}
			if err := registry.New(set, registry.Options{}).Check(c.Context(), host, user, password); err != nil {
				return fmt.Errorf("log in to %s: %w", host, err)
			}
			cf, err := config.Load(config.Dir())
			if err != nil {
				return fmt.Errorf("read Docker configuration: %w", err)
			}
			err = cf.GetCredentialsStore(key(host)).Store(types.AuthConfig{ServerAddress: key(host), Username: user, Password: password})
			if err != nil {
				return fmt.Errorf("keep credentials for %s: %w", host, err)
			}
			fmt.Fprintln(c.OutOrStdout(), "logged in to", host)
			if cf.CredentialsStore == "" && cf.CredentialHelpers[key(host)] == "" {
				fmt.Fprintf(c.ErrOrStderr(), "the password is in %s as it is; a credential helper would keep it safer\n", cf.Filename)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&user, "username", "u", "", "user `NAME`")
	c.Flags().StringVarP(&password, "password", "p", "", "`PASSWORD`; others can see it in the list of processes, so rather --password-stdin")
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return c
}

// ask asks for what is missing, where there is a person to ask.
func ask(c *cobra.Command, user, password *string) error {
	if *user != "" && *password != "" {
		return nil
	}
	f, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return errors.New("log in: user name or password is missing, and standard input is no terminal to ask at (use --username and --password-stdin)")
	}
	if *user == "" {
		fmt.Fprint(c.ErrOrStderr(), "User name: ")
		line, err := bufio.NewReader(f).ReadString('\n')
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		*user = strings.TrimSpace(line)
	}
	if *password == "" {
		fmt.Fprint(c.ErrOrStderr(), "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		*password = string(b)
	}
	if *user == "" || *password == "" {
		return errors.New("log in: user name or password is empty")
	}
	return nil
}

func logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout [REGISTRY]", Short: "Forget user name and password for a registry", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			host := hostArg(args)
			cf, err := config.Load(config.Dir())
			if err != nil {
				return fmt.Errorf("read Docker configuration: %w", err)
			}
			store := cf.GetCredentialsStore(key(host))
			have, err := store.Get(key(host))
			if err != nil {
				return fmt.Errorf("read credentials for %s: %w", host, err)
			}
			if have.Username == "" && have.IdentityToken == "" && have.Auth == "" {
				fmt.Fprintln(c.OutOrStdout(), "not logged in to", host)
				return nil
			}
			if err := store.Erase(key(host)); err != nil {
				return fmt.Errorf("forget credentials for %s: %w", host, err)
			}
			fmt.Fprintln(c.OutOrStdout(), "logged out of", host)
			return nil
		},
	}
}
