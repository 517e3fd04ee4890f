// Package lab sets the scene for tests that run gcr: the program itself, root filesystems, an ordinary user,
// terminals, and a look at what was left behind.
//
// A test package hands its TestMain over, and says which tests are run once for each kind of caller:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
//	func TestHello(t *testing.T) {
//		lab.Each(t, func(t *testing.T) {
//			out, err := exec.Command(lab.GCR(t), "run", lab.Busybox(t), "echo", "hello").CombinedOutput()
//			…
//		})
//	}
//
// Started as root, Each runs the test as root, as an ordinary user with a single id, and as one with
// subordinate ids; started by an ordinary user, as that user. Each kind runs in a mount namespace of its own
// with its own /etc and /run/gcr, so that the machine's accounts and containers are left alone.
package lab
