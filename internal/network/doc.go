// Package network connects containers: bridges, veth pairs, addresses, routes, address translation and names
// for root, and a user-mode network (pasta, slirp4netns) for everybody else.
//
// It speaks netlink itself and starts neither ip, iptables nor nft. What it does for a container comes in four
// parts, so that the slow ones can run while the root filesystem is prepared:
//
//	req, err := network.ParseRequest(network.Flags{Networks: []string{"web"}, Publish: []string{"8080:80"}})
//	plan, err := network.NewPlan(host, req)    // reads, changes nothing; plan.Steps explains
//	con, err := plan.Allocate(container)       // leases addresses and host ports
//	err = con.Attach(pid, netns)               // links, addresses, routes, published ports
//	defer con.Release()
//
// Nothing runs between commands and nothing is kept in memory: networks are files below /var/lib/gcr/networks,
// leases symbolic links below /run/gcr-net, and what a container has is written in its state directory before it
// is made. When gcr is killed the next one finds the dead container's record and takes back what the kernel has
// not taken back by itself ([Clean]).
package network
