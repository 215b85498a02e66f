// Package version names this version of supd; its three programs share it.
package version

// Version follows semantic versioning. Releases change it by hand, together
// with CHANGELOG.md.
const Version = "0.1.0"
