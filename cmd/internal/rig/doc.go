// Package rig runs the real supd, supctl and supreplay under test: binaries
// built from this tree, folders of their own, real services, and kills. What
// it knows of supd it has from outside: from /proc, from cgroups, from the
// files in the state folder and from what services wrote down themselves. It
// never takes supd's word for its own promises.
//
//	func TestMain(m *testing.M) { rig.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		r := rig.New(t, `[service.web] …`)
//		r.Run()
//		r.Supctl("restart", "web").OK()
//		r.Kill(r.Engine())
//		r.Shutdown()
//		history := r.History()
//		…
//	}
//
// Everything that a rig starts carries its folder in its environment. At the
// end of a test whatever still does is ended by its pid, and counts as a
// failure unless the test said Abandon.
package rig
