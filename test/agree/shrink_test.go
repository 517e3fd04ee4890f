package agree

import (
	"encoding/json"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// shrinkRuns bounds the work of making a configuration smaller.
const shrinkRuns = 150

// shrink leaves out parts of the configuration as long as the two still differ in the same fact.
func (b *bench) shrink(s *specs.Spec, kind string) *specs.Spec {
	data, err := json.Marshal(s)
	must(b.t, err)
	var tree any
	must(b.t, json.Unmarshal(data, &tree))
	runs := 0
	differs := func(tree any) bool {
		if runs++; runs > shrinkRuns {
			return false
		}
		data, err := json.Marshal(tree)
		must(b.t, err)
		var s specs.Spec
		if json.Unmarshal(data, &s) != nil || !harmless(&s) {
			return false
		}
		diffs, _ := b.compare(&s, map[string]int{})
		for _, d := range diffs {
			if d.kind() == kind {
				return true
			}
		}
		return false
	}
	for shrunk := true; shrunk && runs < shrinkRuns; {
		shrunk = false
		// Big parts first: a part of the part need not be tried then.
		for _, path := range paths(tree, nil) {
			if runs >= shrinkRuns {
				break
			}
			if smaller, ok := without(tree, path); ok && differs(smaller) {
				tree, shrunk = smaller, true
			}
		}
	}
	data, err = json.Marshal(tree)
	must(b.t, err)
	var small specs.Spec
	must(b.t, json.Unmarshal(data, &small))
	return &small
}

// harmless reports whether a configuration that lacks parts can be run: it must not mount or set anything on the
// host, which some runtimes do when a namespace is missing.
func harmless(s *specs.Spec) bool {
	if s.Process == nil || s.Root == nil || s.Linux == nil || len(s.Process.Args) < 2 {
		return false
	}
	own := map[specs.LinuxNamespaceType]bool{}
	for _, n := range s.Linux.Namespaces {
		own[n.Type] = n.Path == ""
	}
	return own[specs.MountNamespace] && (own[specs.UTSNamespace] || s.Hostname == "" && s.Domainname == "") &&
		(len(s.Linux.Sysctl) == 0 || own[specs.NetworkNamespace] && own[specs.IPCNamespace])
}

// paths names each part, those near the root first; of a list the last first, so that the names of the others
// stay right when one is left out.
func paths(tree any, at []string) [][]string {
	var here, below [][]string
	visit := func(name string, v any) {
		path := append(append([]string{}, at...), name)
		here = append(here, path)
		below = append(below, paths(v, path)...)
	}
	switch t := tree.(type) {
	case map[string]any:
		for k, v := range t {
			visit(k, v)
		}
	case []any:
		for i := len(t) - 1; i >= 0; i-- {
			visit(strconv.Itoa(i), t[i])
		}
	}
	return append(here, below...)
}

// without is a copy of the tree that lacks a part.
func without(tree any, path []string) (any, bool) {
	switch t := tree.(type) {
	case map[string]any:
		v, ok := t[path[0]]
		if !ok {
			return nil, false
		}
		out := map[string]any{}
		for k, v := range t {
			out[k] = v
		}
		if len(path) == 1 {
			delete(out, path[0])
			return out, true
		}
		out[path[0]], ok = without(v, path[1:])
		return out, ok
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(t) {
			return nil, false
		}
		out := append([]any{}, t[:i]...)
		if len(path) > 1 {
			v, ok := without(t[i], path[1:])
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return append(out, t[i+1:]...), true
	}
	return nil, false
}
