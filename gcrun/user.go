package main

import (
	"fmt"

	"gcr/internal/account"
	"gcr/internal/lifecycle"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// setUser changes the user of a process to USER[:GROUP], each a name of the container or a number, and adds groups.
//
// A number leaves the groups of the container's own process as they are, as runc's exec does; a name brings the
// primary group and the groups that the container's files say.
func setUser(u *specs.User, user string, groups []string, read lifecycle.Accounts) error {
	var passwd, group []byte
	known := false
	files := func() error {
		var err error
		if !known {
			passwd, group, err = read()
			known = err == nil
		}
		return err
	}
	if user != "" {
		who, err := account.ParseSpec(user)
		if err != nil {
			return fmt.Errorf("parsing user %q (--user): %w; write USER or USER:GROUP, each a name or a number", user, err)
		}
		if !who.User.Numeric || who.HasGroup && !who.Group.Numeric {
			if err := files(); err != nil {
				return err
			}
		}
		id, err := account.Resolve(who, passwd, group)
		if err != nil {
			return fmt.Errorf("find user %q (--user): %w", user, err)
		}
		u.UID, u.Username = id.UID, ""
		if who.HasGroup || !who.User.Numeric {
			u.GID = id.GID
		}
		if !who.User.Numeric && !who.HasGroup {
			u.AdditionalGids = id.Groups
		}
	}
	all := append([]uint32{}, u.AdditionalGids...)
	for _, s := range groups {
		ref, err := account.ParseRef(s)
		if err != nil {
			return fmt.Errorf("parsing additional group %q (--additional-gids): it %w", s, err)
		}
		if !ref.Numeric {
			if err := files(); err != nil {
				return err
			}
		}
		gid, err := account.FindGroup(ref, group)
		if err != nil {
			return fmt.Errorf("find additional group %q (--additional-gids): %w", s, err)
		}
		all = append(all, gid)
	}
	u.AdditionalGids = all
	return nil
}
