package main

import (
	"fmt"
	"os"
	"strings"

	"supd/executor/keeper/wire"
)

// kernelFeatures says what the keeper could obtain, and what is weaker
// without.
func kernelFeatures(k wire.Info) map[string]string {
	has := func(bit uint32, with, without string) string {
		if k.Features&bit != 0 {
			return with
		}
		return without
	}
	cgroup := k.Cgroup
	if cgroup == "" {
		cgroup = "none: " + k.CgroupReason + "; trees are ended by search, a process that hides from it survives"
	}
	return map[string]string{
		"cgroup":       cgroup,
		"cgroup.kill":  has(wire.FeatureCgroupKill, "yes", "no: trees are frozen and killed one by one"),
		"limits":       limitFeatures(k),
		"pidfd_exit":   has(wire.FeaturePidfdExit, "yes", "no: exit codes are unknown for services whose keeper was killed"),
		"pidfd_pinned": has(wire.FeaturePidfdPinned, "yes", "no: exit codes are unknown for services that end while all of supd is dead; needs root, mounts and Linux 6.15"),
		"subreaper":    has(wire.FeatureSubreaper, "yes", "no: orphans of services are not reaped here"),
		"change_user":  has(wire.FeatureRoot, "yes", "no: services run as the user of supd"),
	}
}

// oomOf says how supd is protected when memory runs out.
func oomOf(k wire.Info) string {
	score := func(pid int) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("oom_score_adj %s for the keeper, %s for the engine, %s for the logger", score(k.PID), score(os.Getpid()), score(k.Logger.PID))
}

// priorityOf says in a word and in a sentence how the keeper's threads stand to
// those of services.
func priorityOf(k wire.Info) (word, text string) {
	switch {
	case k.Features&wire.FeatureRealTime != 0:
		return "real-time", "real-time (SCHED_FIFO 1); services run normally"
	case k.Features&wire.FeatureNice != 0:
		return "nice", "nice -10: real-time is not permitted; services run normally"
	}
	return "normal", "normal: on a busy machine services are restarted late; CAP_SYS_NICE permits more"
}

// limitFeatures says which limits of cgroups this machine can hold.
func limitFeatures(k wire.Info) string {
	var have []string
	for _, l := range []struct {
		bit uint32
		key string
	}{{wire.FeatureMemory, "memory"}, {wire.FeatureCPU, "cpu_quota"}, {wire.FeaturePIDs, "pids"}} {
		if k.Features&l.bit != 0 {
			have = append(have, l.key)
		}
	}
	if len(have) == 0 {
		return "no: limits.memory, cpu_quota and pids need controllers of cgroup2, and services that have them are not started"
	}
	return strings.Join(have, ", ")
}
