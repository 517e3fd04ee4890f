package network

import (
	"bytes"
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A packet must be accepted by every table that it passes: what gcr's table lets through can still be dropped by
// another one. Docker and ufw set the policy of iptables' FORWARD chain to drop and expect others to add
// exceptions; gcr adds two for each bridge, in the form that iptables-nft(8) writes and reads itself. Docker keeps
// the chain DOCKER-USER for this and never touches it; without it they go to the top of FORWARD.

// besideOthers adds what is missing for the bridges. It costs three reads where no such table is there.
func besideOthers(c *nftables.Conn, bridges []string) error {
	changed := false
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		chain, err := exceptionsChain(c, family)
		if err != nil {
			return err
		}
		if chain == nil {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return tableError("read chain "+chain.Name, err)
		}
		for _, b := range bridges {
			for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
				if findException(rules, b, key) == nil {
					changed = true
					c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: []expr.Any{
						&expr.Meta{Key: key, Register: reg},
						&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: append([]byte(b), 0)},
						&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept},
					}})
				}
			}
		}
	}
	if changed {
		if err := c.Flush(); err != nil {
			return tableError("add exceptions to chain FORWARD", err)
		}
	}
	return withFirewalld(c, bridges, (*firewalld).trust)
}

// forgetBeside removes the exceptions of a bridge that goes away.
func forgetBeside(bridge string) error {
	c, err := newTables()
	if err != nil {
		return err
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		chains, err := c.ListChainsOfTableFamily(family)
		if noTables(err) {
			return nil
		}
		if err != nil {
			return tableError("list chains", err)
		}
		for _, chain := range chains {
			if chain.Table.Name != "filter" || chain.Name != "FORWARD" && chain.Name != "DOCKER-USER" {
				continue
			}
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return tableError("read chain "+chain.Name, err)
			}
			for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
				if r := findException(rules, bridge, key); r != nil {
					r.Table, r.Chain = chain.Table, chain
					if err := c.DelRule(r); err != nil {
						return tableError("remove exceptions of chain "+chain.Name, err)
					}
				}
			}
		}
	}
	if err := c.Flush(); err != nil {
		return tableError("remove exceptions of chain FORWARD", err)
	}
	err = withFirewalld(c, []string{bridge}, (*firewalld).forget)
	if errors.As(err, new(*warning)) {
		return nil // a bridge that is gone does no harm in a zone
	}
	return err
}

// exceptionsChain is where exceptions belong; nil where nothing is dropped by default. It asks for what it needs by
// name: on a node of Kubernetes there are thousands of chains.
func exceptionsChain(c *nftables.Conn, family nftables.TableFamily) (*nftables.Chain, error) {
	table, err := c.ListTableOfFamily("filter", family)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, tableError("look for table filter", err)
	}
	// The library does not pass the error number on; where the table can be read this one says that there is no
	// such chain.
	forward, err := c.ListChain(table, "FORWARD")
	if err != nil || forward.Policy == nil || *forward.Policy != nftables.ChainPolicyDrop {
		return nil, nil
	}
	forward.Table = table
	if user, err := c.ListChain(table, "DOCKER-USER"); err == nil {
		user.Table = table
		return user, nil
	}
	return forward, nil
}

// findException looks for a rule of ours.
func findException(rules []*nftables.Rule, bridge string, key expr.MetaKey) *nftables.Rule {
	for _, r := range rules {
		if len(r.Exprs) != 4 {
			continue
		}
		m, ok1 := r.Exprs[0].(*expr.Meta)
		k, ok2 := r.Exprs[1].(*expr.Cmp)
		_, ok3 := r.Exprs[2].(*expr.Counter)
		v, ok4 := r.Exprs[3].(*expr.Verdict)
		if ok1 && ok2 && ok3 && ok4 && m.Key == key && k.Op == expr.CmpOpEq && v.Kind == expr.VerdictAccept && string(bytes.TrimRight(k.Data, "\x00")) == bridge {
			return r
		}
	}
	return nil
}
