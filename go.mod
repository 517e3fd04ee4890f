module gcr

go 1.25.0

require (
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/sys v0.46.0
)
