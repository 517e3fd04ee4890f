// Package netdevice moves network devices between network namespaces, for linux.netDevices of the OCI runtime
// specification 1.3 (config-linux.md, "Network Devices").
//
//	moved, err := netdevice.Move(ns, []netdevice.Device{{Field: "linux.netDevices[eth1]", Name: "eth1", NewName: "eth0"}})
//	if err != nil {
//		return err // nothing has been moved
//	}
//	defer moved.Close()
//	err = moved.Back() // when the container could not be made after all
//
// A device keeps its attributes when it changes its namespace, but the kernel takes its addresses away and sets it
// down. Permanent addresses of global scope are added again and the device is set up, as the specification wants.
//
// The package speaks rtnetlink(7) itself: three kinds of message are all that it needs, and a library for all of
// them would cost every start of gcrun more time than the rest of the start.
package netdevice
