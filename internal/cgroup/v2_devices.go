package cgroup

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
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

// Instructions generates the program. It gets a struct bpf_cgroup_dev_ctx {u32 access_type, major, minor}
// (linux/bpf.h), where access_type is access<<16 | type, and returns 1 to allow and 0 to deny.
//
// Rules are tried from the last to the first. R3 holds the ways that are still undecided: an allow rule
// clears its bits and allows when none is left, a deny rule denies when it has one of them. So "allow c 1:3 r"
// and "allow c 1:3 w" together allow opening for both. What no rule decides is denied.
func (f *DeviceFilter) Instructions() asm.Instructions {
	const (
		kind, access, major, minor = asm.R2, asm.R3, asm.R4, asm.R5
		typeBlock, typeChar        = 1, 2 // BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
	)
	prog := asm.Instructions{
		asm.LoadMem(kind, asm.R1, 0, asm.Word),
		asm.Mov.Reg32(access, kind),
		asm.RSh.Imm32(access, 16),
		asm.And.Imm32(kind, 0xffff),
		asm.LoadMem(major, asm.R1, 4, asm.Word),
		asm.LoadMem(minor, asm.R1, 8, asm.Word),
	}
	result := func(allow bool) asm.Instructions {
		v := int32(0)
		if allow {
			v = 1
		}
		return asm.Instructions{asm.Mov.Imm32(asm.R0, v), asm.Return()}
	}
	label := ""
	for i := len(f.Rules) - 1; i >= 0; i-- {
		r := f.Rules[i]
		next := fmt.Sprintf("before-%d", i)
		var rule asm.Instructions
		switch r.Type {
		case 'c':
			rule = append(rule, asm.JNE.Imm(kind, typeChar, next))
		case 'b':
			rule = append(rule, asm.JNE.Imm(kind, typeBlock, next))
		}
		if r.Major != wildcard {
			rule = append(rule, asm.JNE.Imm(major, int32(r.Major), next))
		}
		if r.Minor != wildcard {
			rule = append(rule, asm.JNE.Imm(minor, int32(r.Minor), next))
		}
		certain := len(rule) == 0 && r.Access == allAccess
		switch {
		case r.Access == allAccess:
		case r.Allow:
			rule = append(rule, asm.And.Imm32(access, int32(allAccess&^r.Access)), asm.JNE.Imm(access, 0, next))
		default:
			rule = append(rule, asm.Mov.Reg32(asm.R1, access), asm.And.Imm32(asm.R1, int32(r.Access)), asm.JEq.Imm(asm.R1, 0, next))
		}
		rule = append(rule, result(r.Allow)...)
		if label != "" {
			rule[0] = rule[0].WithSymbol(label)
		}
		prog = append(prog, rule...)
		if certain {
			return prog // the verifier refuses instructions that cannot be reached
		}
		label = next
	}
	end := result(false)
	if label != "" {
		end[0] = end[0].WithSymbol(label)
	}
	return append(prog, end...)
}
