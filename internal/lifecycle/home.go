package lifecycle

import (
	"strings"

	"gcr/internal/account"
	"gcr/internal/rootfile"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxPasswd bounds what is read of a container's /etc/passwd, in bytes.
const maxPasswd = 4 << 20

// setHome adds HOME to an environment that has none, from the container's /etc/passwd, as runc and crun do; / where
// that names no directory.
func setHome(p *specs.Process, rootfs string) {
	for _, v := range p.Env {
		if strings.HasPrefix(v, "HOME=") && v != "HOME=" {
			return
		}
	}
	home := "/"
	if root, err := rootfile.Open(rootfs); err == nil {
		if passwd, err := root.ReadFile("/etc/passwd", maxPasswd); err == nil {
			if u, found, _ := account.UserByID(p.User.UID, passwd); found && u.Home != "" {
				home = u.Home
			}
		}
		root.Close()
	}
	p.Env = append(append([]string{}, p.Env...), "HOME="+home)
}
