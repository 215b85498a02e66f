package stub

import _ "embed"

// Binary is the stub, an ELF executable.
//
//go:embed stub_arm64
var Binary string
