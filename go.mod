module gcr

go 1.25.0

require (
	github.com/opencontainers/runtime-spec v1.3.0
	github.com/spf13/pflag v1.0.10
	golang.org/x/sys v0.47.0
)
