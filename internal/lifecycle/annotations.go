package lifecycle

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"gcr/internal/hostfacts"
	"gcr/internal/plan"
	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Annotations that have an effect; docs/gcrun.md lists them. Those of crun begin with run.oci.
const (
	landlockPrefix   = "gcr.landlock."
	landlockRead     = landlockPrefix + "ro"
	landlockWrite    = landlockPrefix + "rw"
	keepGroups       = "run.oci.keep_original_groups"
	timeOffset       = "run.oci.timens_offset"
	seccompReceiver  = "run.oci.seccomp.receiver"
	seccompPlugins   = "run.oci.seccomp.plugins"
	seccompStrict    = "run.oci.seccomp_fail_unknown_syscall"
	seccompData      = "run.oci.seccomp_bpf_data"
	hooksStdout      = "run.oci.hooks.stdout"
	hooksStderr      = "run.oci.hooks.stderr"
	pidfdReceiver    = "run.oci.pidfd_receiver"
	mountContextType = "run.oci.mount_context_type"
	handler          = "run.oci.handler"
)

// loadConfig reads a configuration and puts those annotations into its fields that have one by now.
func loadConfig(file string) (*specs.Spec, []byte, error) {
	s, data, err := spec.Load(file)
	if err != nil {
		return nil, nil, err
	}
	if err := applyAnnotations(s); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", file, err)
	}
	return s, data, nil
}

func annotationError(name, format string, args ...any) error {
	return &spec.FieldError{Field: "annotations[" + name + "]", Cause: fmt.Sprintf(format, args...)}
}

// applyAnnotations checks the annotations. One that would make a container safer, or another kind of container, is
// refused when it cannot be followed: it would be taken for done.
func applyAnnotations(s *specs.Spec) error {
	for _, name := range slices.Sorted(maps.Keys(s.Annotations)) {
		value := s.Annotations[name]
		switch name {
		case handler:
			return annotationError(name, "there is no handler %q: gcrun starts programs of Linux only", value)
		case seccompPlugins:
			return annotationError(name, "plugins for the seccomp listener are not loaded: let an agent listen at linux.seccomp.listenerPath")
		case seccompReceiver, pidfdReceiver, hooksStdout, hooksStderr:
			if !path.IsAbs(value) {
				return annotationError(name, "%q is not an absolute path", value)
			}
		case mountContextType:
			if !slices.Contains([]string{"context", "fscontext", "defcontext", "rootcontext"}, value) {
				return annotationError(name, "%q is none of context, fscontext, defcontext and rootcontext", value)
			}
		case timeOffset:
			if err := addTimeOffset(s, value); err != nil {
				return err
			}
		default:
			if strings.HasPrefix(name, landlockPrefix) && name != landlockRead && name != landlockWrite {
				return annotationError(name, "there is no such annotation: use %s and %s", landlockRead, landlockWrite)
			}
		}
	}
	if r := s.Annotations[seccompReceiver]; r != "" && s.Linux != nil && s.Linux.Seccomp != nil && s.Linux.Seccomp.ListenerPath == "" {
		s.Linux.Seccomp.ListenerPath = r
	}
	x, err := extras(s)
	if err == nil && len(x.Landlock) > 0 && s.Process != nil {
		s.Process.NoNewPrivileges = true // Landlock wants it
	}
	return err
}

// addTimeOffset reads "CLOCK SECONDS NANOSECONDS", as the kernel takes it (time_namespaces(7)).
func addTimeOffset(s *specs.Spec, value string) error {
	f := strings.Fields(value)
	if len(f) != 3 || f[0] != "monotonic" && f[0] != "boottime" {
		return annotationError(timeOffset, "%q is not monotonic or boottime with seconds and nanoseconds", value)
	}
	secs, err := strconv.ParseInt(f[1], 10, 64)
	nanos, nerr := strconv.ParseUint(f[2], 10, 32)
	if err != nil || nerr != nil || nanos >= 1e9 {
		return annotationError(timeOffset, "%q holds no seconds and nanoseconds", value)
	}
	if s.Linux == nil || !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.TimeNamespace }) {
		return annotationError(timeOffset, "there is no time namespace: add a namespace of type time")
	}
	if s.Linux.TimeOffsets == nil {
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{}
	}
	s.Linux.TimeOffsets[f[0]] = specs.LinuxTimeOffset{Secs: secs, Nanosecs: uint32(nanos)}
	return nil
}

// extras are the wishes of the annotations that have no field.
func extras(s *specs.Spec) (plan.Extras, error) {
	x := plan.Extras{LabelOption: s.Annotations[mountContextType]}
	_, x.KeepGroups = s.Annotations[keepGroups]
	_, x.StrictFilter = s.Annotations[seccompStrict]
	if v, ok := s.Annotations[seccompData]; ok {
		data, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(data) == 0 {
			return x, annotationError(seccompData, "it is no program in base64")
		}
		x.Filter = data
	}
	seen := map[string]bool{}
	for _, name := range []string{landlockRead, landlockWrite} {
		value, ok := s.Annotations[name]
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(value, ",") {
			switch {
			case !path.IsAbs(dir):
				return x, annotationError(name, "%q is not an absolute path; write several with commas between", dir)
			case strings.ContainsRune(dir, 0):
				return x, annotationError(name, "a path holds a NUL byte")
			case seen[path.Clean(dir)]:
				return x, annotationError(name, "%s is named twice", path.Clean(dir))
			}
			dir = path.Clean(dir)
			seen[dir] = true
			x.Landlock = append(x.Landlock, plan.LandlockRule{Path: dir, Write: name == landlockWrite})
		}
	}
	return x, nil
}

// withExtras completes the facts of the host that the extras depend on.
func withExtras(h *plan.Host, s *specs.Spec) (plan.Extras, error) {
	x, err := extras(s)
	if err == nil && len(x.Landlock) > 0 {
		h.Landlock = hostfacts.LandlockABI()
	}
	return x, err
}
