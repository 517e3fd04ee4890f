// Package networkcmd holds the commands about networks: gcr network create, ls, inspect, rm, prune, explain.
//
//	root.AddCommand(networkcmd.Command(engine.CleanUp))
package networkcmd

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"gcr/internal/hostfacts"
	"gcr/internal/listing"
	"gcr/internal/network"
	"gcr/internal/state"

	"github.com/spf13/cobra"
)

// Command is the command gcr network. cleanUp takes away what a dead container has left outside of a state directory.
func Command(cleanUp func(dir string) error) *cobra.Command {
	c := &cobra.Command{
		Use: "network", Short: "Make, list and explain the networks of containers",
		Long: `A network is a bridge of this machine, with addresses for the containers that are plugged into it. The
network gcr0 is there without being made; gcr run uses it when no other is named. Containers of a network
that you make find each other by name.

Without root a container gets its network from pasta (pasta(1)) and needs none of this.`,
		Example: `  gcr network create web
  gcr run --network web --name db ubuntu ./serve
  gcr run --network web -p 8080:80 ubuntu ./app      # reaches the other one as "db"
  gcr network explain                                # the way of a packet, with counters`,
	}
	c.AddCommand(create(), list(), inspect(), remove(), prune(cleanUp), explain())
	return c
}

// rooted refuses what needs root before something half-done does.
func rooted(do func(s *network.Store, c *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if os.Geteuid() != 0 {
			return &network.Error{
				What: "change networks", Cause: text("an ordinary user may not make interfaces on the host"),
				Hint: "run gcr network with sudo; without root, gcr run connects containers with pasta",
			}
		}
		return do(network.System(), c, args)
	}
}

type text string

func (t text) Error() string { return string(t) }

func create() *cobra.Command {
	var d network.Definition
	var subnets, gateways, labels []string
	ipv4, ipv6 := true, true
	driver := "bridge"
	c := &cobra.Command{
		Use: "create [flags] NAME", Short: "Make a network", Args: cobra.ExactArgs(1),
		RunE: rooted(func(s *network.Store, c *cobra.Command, args []string) error {
			d.Name = args[0]
			if driver != "bridge" {
				return &network.Error{What: fmt.Sprintf("create network %s with driver %q", d.Name, driver), Flag: "--driver", Cause: text("gcr has bridges only"), Hint: "leave --driver out; --network ns:PATH joins a namespace that you have connected in another way"}
			}
			for _, v := range subnets {
				p, err := netip.ParsePrefix(v)
				if err != nil {
					return &network.Error{What: fmt.Sprintf("parse %q", v), Flag: "--subnet", Cause: text("it is not an address with a prefix length"), Hint: "for instance 10.200.0.0/24 or fd00:1::/64"}
				}
				to := &d.Subnet4
				if p.Addr().Is6() {
					to = &d.Subnet6
				}
				if to.IsValid() {
					return &network.Error{What: "create network " + d.Name, Flag: "--subnet", Cause: text("there are two of the same kind"), Hint: "a network has one IPv4 and one IPv6 subnet"}
				}
				*to = p
			}
			if d.Subnet6.IsValid() && !ipv6 {
				return &network.Error{What: "create network " + d.Name, Flag: "--ipv6=false", Cause: text("--subnet " + d.Subnet6.String() + " is IPv6"), Hint: "leave one of them out"}
			}
			if d.Subnet4.IsValid() && !ipv4 {
				return &network.Error{What: "create network " + d.Name, Flag: "--ipv4=false", Cause: text("--subnet " + d.Subnet4.String() + " is IPv4"), Hint: "leave one of them out"}
			}
			for _, v := range gateways {
				a, err := netip.ParseAddr(v)
				if err != nil || a.Zone() != "" {
					return &network.Error{What: fmt.Sprintf("parse %q", v), Flag: "--gateway", Cause: text("it is not an IP address")}
				}
				if a.Is6() {
					d.Gateway6 = a
				} else {
					d.Gateway4 = a
				}
			}
			for _, l := range labels {
				k, v, _ := strings.Cut(l, "=")
				if k == "" {
					return &network.Error{What: fmt.Sprintf("parse %q", l), Flag: "--label", Cause: text("it has no name"), Hint: "NAME=VALUE"}
				}
				if d.Labels == nil {
					d.Labels = map[string]string{}
				}
				d.Labels[k] = v
			}
			n, err := s.Create(d, ipv4, ipv6)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), n.Name)
			return nil
		}),
	}
	f := c.Flags()
	f.StringArrayVar(&subnets, "subnet", nil, "`PREFIX` of the addresses, such as 10.200.0.0/24; a second one for IPv6")
	f.StringArrayVar(&gateways, "gateway", nil, "`IP` of the host in the network (default: the first of the subnet)")
	f.BoolVar(&ipv4, "ipv4", true, "give containers an IPv4 address; without it, or with an IPv6 --subnet alone, IPv6 only")
	f.BoolVar(&ipv6, "ipv6", true, "give containers an IPv6 address too")
	f.IntVar(&d.MTU, "mtu", 0, "largest packet in `BYTES` (default 1500)")
	f.BoolVar(&d.Internal, "internal", false, "no way out of the network, and none in but from the host")
	f.BoolVar(&d.Isolate, "isolate", false, "no traffic from and to other networks")
	f.StringVarP(&driver, "driver", "d", driver, "`KIND` of network: bridge is the only one")
	f.StringArrayVar(&labels, "label", nil, "`NAME=VALUE` to remember")
	return c
}

// view is a network as the commands show it.
type view struct {
	*network.Definition
	Containers []network.Member `json:"containers"`
}

func look(s *network.Store, d *network.Definition) view {
	members := s.Members(d.Name)
	if members == nil {
		members = []network.Member{}
	}
	return view{d, members}
}

func list() *cobra.Command {
	var o listing.Options
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the networks", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s := network.System()
			defs, err := s.List()
			if err != nil {
				return err
			}
			if o.Quiet {
				for _, d := range defs {
					fmt.Fprintln(c.OutOrStdout(), d.Name)
				}
				return nil
			}
			var all []view
			for _, d := range defs {
				all = append(all, look(s, d))
			}
			return listing.Write(c, &o, all, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tBRIDGE\tIPV4\tIPV6\tCONTAINERS\tOPTIONS")
				for _, v := range all {
					var opts []string
					if v.Internal {
						opts = append(opts, "internal")
					}
					if v.Isolate {
						opts = append(opts, "isolate")
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", v.Name, v.Bridge, show(v.Subnet4), show(v.Subnet6), len(v.Containers), strings.Join(opts, ","))
				}
			})
		},
	}
	o.Flags(c, "names only")
	return c
}

func show(p netip.Prefix) string {
	if !p.IsValid() {
		return "-"
	}
	return p.String()
}

func inspect() *cobra.Command {
	var o listing.Options
	c := &cobra.Command{
		Use: "inspect NAME...", Short: "Show everything about networks, as JSON", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: names,
		RunE: func(c *cobra.Command, args []string) error {
			s := network.System()
			var all []view
			for _, name := range args {
				d, err := s.Load(name)
				if err != nil {
					return err
				}
				all = append(all, look(s, d))
			}
			o.JSON = o.Format == ""
			return listing.Write(c, &o, all, nil)
		},
	}
	o.Flags(c, "")
	return c
}

// names completes the names of networks.
func names(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	defs, _ := network.System().List() // those that can be read
	var out []string
	for _, d := range defs {
		if !slices.Contains(args, d.Name) {
			out = append(out, d.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func remove() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"remove"}, Short: "Remove networks", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: names,
		RunE: rooted(func(s *network.Store, c *cobra.Command, args []string) error {
			var errs []error
			for _, name := range args {
				err := s.Remove(name)
				if force && errors.Is(err, network.ErrNoNetwork) {
					continue
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(c.OutOrStdout(), name)
			}
			return errors.Join(errs...)
		}),
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "no error if there is none")
	return c
}

func prune(cleanUp func(string) error) *cobra.Command {
	c := &cobra.Command{
		Use: "prune", Short: "Remove networks that no container uses, and what killed containers have left", Args: cobra.NoArgs,
		RunE: rooted(func(s *network.Store, c *cobra.Command, _ []string) error {
			if err := state.Sweep(containers(), cleanUp); err != nil {
				return err
			}
			removed, err := s.Prune()
			for _, name := range removed {
				fmt.Fprintln(c.OutOrStdout(), name)
			}
			return err
		}),
	}
	c.Flags().BoolP("force", "f", false, "do not ask (it never does)")
	return c
}

func explain() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "explain [CONTAINER]", Short: "Draw the way of a packet, with the rules that it passes and their counters", Args: cobra.MaximumNArgs(1),
		Long: `Draws the ways of the packets from and to a container: its interface, the veth pair, the bridge, the chains of
rules with what each has counted, and the host. Which counter does not move when you try? Without CONTAINER it draws
all networks.`,
		Example: `  gcr network explain web
  watch -n 1 gcr network explain web     # and try from elsewhere meanwhile`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return network.Living(containers()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			pictures, err := network.System().Explain(containers(), name)
			if err != nil {
				return err
			}
			if asJSON {
				if pictures == nil {
					pictures = []*network.Picture{}
				}
				return listing.JSON(c.OutOrStdout(), pictures)
			}
			if len(pictures) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "No container is running, and there is no network yet: gcr run makes the first one.")
				return nil
			}
			colour := c.OutOrStdout() == os.Stdout && hostfacts.IsTerminal(1) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
			return network.Draw(c.OutOrStdout(), pictures, colour)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// containers is where the state directories of the caller's containers are.
func containers() string {
	return state.Root(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR"), os.TempDir())
}
