package rig_test

import (
	"testing"

	"supd/cmd/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
