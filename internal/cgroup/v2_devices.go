package cgroup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// DeviceFilter decides which devices the processes of a v2 group may use: cgroup v2 has no files for it
// but asks an eBPF program at each open and mknod (cgroup-v2.rst, "Device controller").
type DeviceFilter struct {
	Rules []DeviceRule // of several that match the last one decides
}

// devicesV2 puts the device filter into the plan.
func (c *compiler) devicesV2(devices []specs.LinuxDeviceCgroup) error {
	if c.update && devices == nil || c.p.optional {
		return nil // rootless: loading needs CAP_BPF in the initial user namespace
	}
	rules, err := deviceRules(devices)
	if err != nil {
		return err
	}
	if !c.update && len(rules) == 1 && rules[0].Allow {
		return nil // everything is allowed: no program is the fastest one
	}
	c.p.Devices = &DeviceFilter{Rules: rules}
	return nil
}

// program generates the program. It gets a struct bpf_cgroup_dev_ctx {u32 access_type, major, minor}
// (linux/bpf.h), where access_type is access<<16 | type, and returns 1 to allow and 0 to deny.
//
// Rules are tried from the last to the first. R3 holds the ways that are still undecided: an allow rule
// clears its bits and allows when none is left, a deny rule denies when it has one of them. So "allow c 1:3 r"
// and "allow c 1:3 w" together allow opening for both. What no rule decides is denied.
func (f *DeviceFilter) program() []byte {
	const (
		answer, ctx, kind, access, major, minor = 0, 1, 2, 3, 4, 5 // registers

		typeBlock, typeChar = 1, 2 // BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
	)
	var b bpfCode
	b.add(bpfLoadW, kind, ctx, 0, 0)
	b.add(bpfMovReg, access, kind, 0, 0)
	b.add(bpfShr, access, 0, 0, 16)
	b.add(bpfAnd, kind, 0, 0, 0xffff)
	b.add(bpfLoadW, major, ctx, 4, 0)
	b.add(bpfLoadW, minor, ctx, 8, 0)
	result := func(allow bool) {
		v := int32(0)
		if allow {
			v = 1
		}
		b.add(bpfMov, answer, 0, 0, v)
		b.add(bpfExit, 0, 0, 0, 0)
	}
	for i := len(f.Rules) - 1; i >= 0; i-- {
		r := f.Rules[i]
		b.here()
		begin := b.len()
		switch r.Type {
		case 'c':
			b.jump(bpfJne, kind, typeChar)
		case 'b':
			b.jump(bpfJne, kind, typeBlock)
		}
		if r.Major != wildcard {
			b.jump(bpfJne, major, int32(r.Major))
		}
		if r.Minor != wildcard {
			b.jump(bpfJne, minor, int32(r.Minor))
		}
		certain := b.len() == begin && r.Access == allAccess
		switch {
		case r.Access == allAccess:
		case r.Allow:
			b.add(bpfAnd, access, 0, 0, int32(allAccess&^r.Access))
			b.jump(bpfJne, access, 0)
		default:
			b.add(bpfMovReg, ctx, access, 0, 0)
			b.add(bpfAnd, ctx, 0, 0, int32(r.Access))
			b.jump(bpfJeq, ctx, 0)
		}
		result(r.Allow)
		if certain {
			return b.code // the verifier refuses instructions that cannot be reached
		}
	}
	b.here()
	result(false)
	return b.code
}
