// Package spec reads config.json of the OCI runtime specification and checks it.
//
// Unknown fields are ignored (config.md, "Extensibility"); a value that no container could have is refused with
// an error that names its field, before anything is made:
//
//	s, _, err := spec.Load("/srv/bundle/config.json")
//	if err != nil {
//		return err // config.json: process.cwd: "tmp" is not an absolute path
//	}
//
// What depends on the host or needs a plan, such as which sysctl belongs to which namespace, is checked by package
// plan.
package spec
