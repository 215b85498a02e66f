//go:build !amd64 && !arm64

package stub

// Binary does not exist here. To support another architecture, teach stub.c its
// system calls and build it.
const Binary string = the_stub_is_built_for_amd64_and_arm64_only
