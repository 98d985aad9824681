// Package metrics owns every Prometheus metric of a daemon: names, labels, help
// texts and buckets stand here and nowhere else. Other rooms report through
// small interfaces of their own, which types of this package fulfil; only cmd/
// imports it. It imports orchestrator/decide for its words.
//
// There is no goroutine in here and no package-level registry: a daemon makes
// one [Registry] and hands it on. All methods may be called from many
// goroutines at once and never block for long.
package metrics
