// Package engine turns what a person types, `gcr run [flags] ROOTFS [COMMAND [ARG…]]`, into an OCI runtime
// configuration, the way Docker and Podman users expect it.
//
// The way of the data: Options hold the flags as they were typed; FindRoot finds the root filesystem;
// ReadHost gathers facts about the caller and the machine; Build, which changes nothing and starts
// nothing, makes of the three a Config: the specification, where the root filesystem comes from, the
// files that the launcher has to write, and notes for the user.
//
//	var o engine.Options
//	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
//	o.Register(fs)
//	err := fs.Parse(os.Args[2:])
//	err = o.SetArgs(fs.Args())
//	root, err := engine.FindRoot(o.Rootfs, engine.RootDirs(os.Getenv("GCR_ROOTFS")))
//	defer root.Close()
//	host, err := engine.ReadHost()
//	config, err := engine.Build(o, host, root)
//	spec := config.Place(stateDir)
//
// Every mistake in the input is an *Error that names the flag, the value, the cause and a way out.
package engine
