// Package plan turns a container's configuration into the ordered list of steps that makes the container.
//
// A plan is a pure function of its [Input]: the OCI configuration and a few facts about the host. Nothing is
// opened, mounted or started here, so the same plan can be run by package launch, printed by --explain,
// narrated by --trace, written as a shell script, or compared with a golden file:
//
//	p, err := plan.New(plan.Input{Spec: spec, Root: plan.Root{Path: "/srv/rootfs"}})
//	if err != nil {
//		return err // names the field of the configuration that cannot be
//	}
//	p.Explain(os.Stdout)
//
// [order] holds the sequence of a container's life in one place. Each thing that a configuration can ask for
// has a file of its own.
package plan
