package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"gcr/internal/netdevice"
)

// moveDevices moves the network devices of the configuration into the container. They come back when the container
// cannot be made; later they stay wherever the container's network namespace is (config-linux.md, "Namespace
// Lifecycle and Container Termination").
func (cr *creation) moveDevices(ns *os.File) error {
	var list []netdevice.Device
	config := cr.spec.Linux.NetDevices
	for _, name := range slices.Sorted(maps.Keys(config)) {
		list = append(list, netdevice.Device{Field: fmt.Sprintf("linux.netDevices[%s]", name), Name: name, NewName: config[name].Name})
	}
	var err error
	cr.devices, err = netdevice.Move(ns, list)
	return err
}
