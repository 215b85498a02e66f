# Each recipe is one command that works without just too.

# Format, vet, staticcheck, both architectures, all tests, race detector
test:
    scripts/test

# See it work: about ten seconds, leaves nothing running
quickstart:
    scripts/quickstart

# Measure supd on this machine: less than three minutes
bench:
    scripts/bench

# Kill supd's own processes at random for minutes, and check every promise
crash *args:
    scripts/crash {{ args }}

# Build the three commands into ./bin
build:
    CGO_ENABLED=0 go build -trimpath -o bin ./cmd/supd ./cmd/supctl ./cmd/supreplay

# Bring all code into gofumpt's form
fmt:
    go tool gofumpt -w journal projector executor cmd
