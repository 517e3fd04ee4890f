module gcr

go 1.25.0

require (
<<<<<<< HEAD
<<<<<<< HEAD
<<<<<<< HEAD
	github.com/opencontainers/runtime-spec v1.3.0
	golang.org/x/sys v0.40.0
=======
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	golang.org/x/sys v0.47.0 // indirect
>>>>>>> engine
=======
	github.com/cilium/ebpf v0.21.0
	github.com/opencontainers/runtime-spec v1.3.0
	golang.org/x/sys v0.46.0
>>>>>>> cgroup
=======
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
>>>>>>> seccomp
)
