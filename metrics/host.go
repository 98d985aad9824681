package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/sys/unix"
)

const (
	// mostInterfaces is of how many network interfaces figures are kept.
	mostInterfaces = 16
	// sector is the unit of diskstats, in bytes.
	sector = 512
	// clockUnsynchronised is STA_UNSYNC of adjtimex(2), clockNanoseconds STA_NANO: what
	// unit its offset has.
	clockUnsynchronised = 0x0040
	clockNanoseconds    = 0x2000
)

// hostMetrics are those of the machine that the daemon runs on, as its kernel tells them.
// What it does not tell, or the daemon may not read, is not there.
type hostMetrics struct {
	cpu, load, memory, swap, volume, diskOps, diskBytes, diskSeconds, network, networkErrors, pressure, clockOffset, clockSynchronised *prometheus.Desc

	mu      sync.Mutex
	volumes map[string]string // where they are, by name
}

func newHost() *hostMetrics {
	return &hostMetrics{
		cpu:               described("host_cpu_seconds_total", "Time that the host's processors spent, by what on, all of them together.", "mode"),
		load:              described("host_load1", "Processes that run or wait for a processor or a disk, as an average over a minute."),
		memory:            described("host_memory_bytes", "The host's memory: its size, and what of it programs could still get.", "state"),
		swap:              described("host_swap_bytes", "The host's swap space: its size, and what of it is free.", "state"),
		volume:            described("host_volume_bytes", "The file systems of data directory and binary logs: their size, and what may still be written.", "volume", "state"),
		diskOps:           described("host_disk_operations_total", "Reads and writes of the disks below those file systems.", "volume", "direction"),
		diskBytes:         described("host_disk_bytes_total", "Bytes read from and written to the disks below those file systems.", "volume", "direction"),
		diskSeconds:       described("host_disk_seconds_total", "How long reads and writes of those disks took, all together; by operations it is their latency.", "volume", "direction"),
		network:           described("host_network_bytes_total", "Bytes that came in and went out, by interface.", "interface", "direction"),
		networkErrors:     described("host_network_failed_total", "Packets that were damaged or dropped, by interface.", "interface", "direction"),
		pressure:          described("host_pressure_seconds_total", "For how long some, or all, of the programs waited for a resource (PSI).", "resource", "stalled"),
		clockOffset:       described("host_clock_offset_seconds", "How far the host's clock is off, as the kernel is told by whoever keeps it right."),
		clockSynchronised: described("host_clock_synchronised", "1 if somebody keeps the host's clock right, else 0."),
	}
}

// WatchHost has the figures of the host be read when somebody scrapes, and those of file
// systems by their names and a path in each.
func (r *Registry) WatchHost(volumes map[string]string) {
	r.host.mu.Lock()
	r.host.volumes = maps.Clone(volumes)
	r.host.mu.Unlock()
}

// Describe is part of prometheus.Collector.
func (h *hostMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{h.cpu, h.load, h.memory, h.swap, h.volume, h.diskOps, h.diskBytes, h.diskSeconds, h.network, h.networkErrors, h.pressure, h.clockOffset, h.clockSynchronised} {
		to <- d
	}
}

// Collect is part of prometheus.Collector.
func (h *hostMetrics) Collect(to chan<- prometheus.Metric) {
	h.mu.Lock()
	volumes := h.volumes
	h.mu.Unlock()
	if volumes == nil {
		return
	}
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	if proc, err := procfs.NewDefaultFS(); err == nil {
		h.processor(proc, tell)
		h.ram(proc, tell)
		h.networks(proc, tell)
		h.pressures(proc, tell)
	}
	h.disks(volumes, tell)
	h.clock(tell)
}

type tellFunc = func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string)

func (h *hostMetrics) processor(proc procfs.FS, tell tellFunc) {
	if s, err := proc.Stat(); err == nil {
		c := s.CPUTotal
		for mode, seconds := range map[string]float64{"user": c.User, "nice": c.Nice, "system": c.System, "idle": c.Idle, "iowait": c.Iowait, "irq": c.IRQ + c.SoftIRQ, "steal": c.Steal} {
			tell(h.cpu, counted, seconds, mode)
		}
	}
	if l, err := proc.LoadAvg(); err == nil {
		tell(h.load, measured, l.Load1)
	}
}

func (h *hostMetrics) ram(proc procfs.FS, tell tellFunc) {
	m, err := proc.Meminfo()
	if err != nil {
		return
	}
	for _, one := range []struct {
		of    *prometheus.Desc
		state string
		bytes *uint64
	}{{h.memory, "size", m.MemTotalBytes}, {h.memory, "available", m.MemAvailableBytes}, {h.swap, "size", m.SwapTotalBytes}, {h.swap, "free", m.SwapFreeBytes}} {
		if one.bytes != nil {
			tell(one.of, measured, float64(*one.bytes), one.state)
		}
	}
}

func (h *hostMetrics) networks(proc procfs.FS, tell tellFunc) {
	all, err := proc.NetDev()
	if err != nil {
		return
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
		return name == "lo" || strings.HasPrefix(name, "veth") // Of containers, which come and go.
	})
	for _, name := range names[:min(len(names), mostInterfaces)] {
		n := all[name]
		tell(h.network, counted, float64(n.RxBytes), name, "in")
		tell(h.network, counted, float64(n.TxBytes), name, "out")
		tell(h.networkErrors, counted, float64(n.RxErrors+n.RxDropped), name, "in")
		tell(h.networkErrors, counted, float64(n.TxErrors+n.TxDropped), name, "out")
	}
}

func (h *hostMetrics) pressures(proc procfs.FS, tell tellFunc) {
	for _, resource := range []string{"cpu", "io", "memory"} {
		p, err := proc.PSIStatsForResource(resource)
		if err != nil {
			continue // The kernel was built or started without.
		}
		if p.Some != nil {
			tell(h.pressure, counted, float64(p.Some.Total)/1e6, resource, "some")
		}
		if p.Full != nil {
			tell(h.pressure, counted, float64(p.Full.Total)/1e6, resource, "all")
		}
	}
}

func (h *hostMetrics) disks(volumes map[string]string, tell tellFunc) {
	stats := map[[2]uint32]blockdevice.IOStats{}
	if block, err := blockdevice.NewDefaultFS(); err == nil {
		all, _ := block.ProcDiskstats() // Without it there are none.
		for _, d := range all {
			stats[[2]uint32{d.MajorNumber, d.MinorNumber}] = d.IOStats
		}
	}
	for name, path := range volumes {
		var at unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &at) != nil || unix.Statfs(path, &fs) != nil {
			continue
		}
		tell(h.volume, measured, float64(fs.Blocks)*float64(fs.Bsize), name, "size")
		tell(h.volume, measured, float64(fs.Bavail)*float64(fs.Bsize), name, "free")
		d, known := stats[[2]uint32{unix.Major(at.Dev), unix.Minor(at.Dev)}]
		if !known {
			continue // A file system over others, or none of a disk.
		}
		for direction, of := range map[string][3]uint64{"read": {d.ReadIOs, d.ReadSectors, d.ReadTicks}, "written": {d.WriteIOs, d.WriteSectors, d.WriteTicks}} {
			tell(h.diskOps, counted, float64(of[0]), name, direction)
			tell(h.diskBytes, counted, float64(of[1])*sector, name, direction)
			tell(h.diskSeconds, counted, float64(of[2])/1e3, name, direction)
		}
	}
}

func (h *hostMetrics) clock(tell tellFunc) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return
	}
	kept := t.Status&clockUnsynchronised == 0
	tell(h.clockSynchronised, measured, bit(kept))
	if !kept {
		return // Nobody knows how far it is off.
	}
	unit := 1e-6
	if t.Status&clockNanoseconds != 0 {
		unit = 1e-9
	}
	tell(h.clockOffset, measured, float64(t.Offset)*unit)
}
