package metrics

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// statusTimeout bounds the questions that a scrape has for mysqld.
	statusTimeout = 2 * time.Second
	// statusFresh is how long the answers serve further scrapes.
	statusFresh = time.Second
)

const (
	counted  = prometheus.CounterValue
	measured = prometheus.GaugeValue
)

// mysqldFigures are the metrics of mysqld's own status variables, and some of its settings
// that say how much of something there may be.
func mysqldFigures() (all []figure) {
	for _, f := range [][]figure{
		family(counted, "mysqld_uptime_seconds_total", "For how long this run of mysqld has been up.", "", of("Uptime")),
		family(counted, "mysqld_questions_total", "Statements that clients sent to mysqld; their rate is QPS.", "", of("Questions")),
		family(counted, "mysqld_statements_total", "Statements that mysqld executed, those within stored programs too, by kind.", "kind",
			of("Com_select", "select"), of("Com_insert", "insert"), of("Com_insert_select", "insert_select"), of("Com_update", "update"), of("Com_update_multi", "update_multi"),
			of("Com_delete", "delete"), of("Com_delete_multi", "delete_multi"), of("Com_replace", "replace"), of("Com_replace_select", "replace_select"),
			of("Com_commit", "commit"), of("Com_rollback", "rollback")),
		family(counted, "mysqld_slow_queries_total", "Statements that took longer than long_query_time.", "", of("Slow_queries")),
		family(counted, "mysqld_connections_total", "Attempts to connect, whether or not they succeeded.", "", of("Connections")),
		family(counted, "mysqld_connections_failed_total", "Attempts to connect that failed, by whose fault: the client's (a wrong password, say), or a limit's.", "reason",
			of("Aborted_connects", "refused"), of("Connection_errors_max_connections", "max_connections")),
		family(counted, "mysqld_sessions_aborted_total", "Sessions whose client went away without saying so.", "", of("Aborted_clients")),
		family(measured, "mysqld_threads", "Sessions that are there, and how many of them are executing something; cached are threads without a session.", "state",
			of("Threads_connected", "connected"), of("Threads_running", "running"), of("Threads_cached", "cached")),
		family(measured, "mysqld_connections_limit", "How many sessions mysqld lets in: max_connections.", "", of("@max_connections")),
		family(counted, "mysqld_network_bytes_total", "Bytes between mysqld and its clients, replicas included, by direction.", "direction",
			of("Bytes_received", "in"), of("Bytes_sent", "out")),
		family(measured, "mysqld_buffer_pool_bytes", "InnoDB's buffer pool: its size, what of it holds data, and what of that is yet to be written.", "state",
			of("@innodb_buffer_pool_size", "size"), of("Innodb_buffer_pool_bytes_data", "data"), of("Innodb_buffer_pool_bytes_dirty", "dirty")),
		family(counted, "mysqld_buffer_pool_reads_total", "Pages that were asked for from the buffer pool, and how many of them had to be read from the disk.", "from",
			of("Innodb_buffer_pool_read_requests", "pool"), of("Innodb_buffer_pool_reads", "disk")),
		family(counted, "mysqld_buffer_pool_waits_total", "How often a page had to be written before one could be read or made, since none was clean.", "", of("Innodb_buffer_pool_wait_free")),
		family(counted, "mysqld_row_lock_waits_total", "How often a statement waited for a lock on a row.", "", of("Innodb_row_lock_waits")),
		family(counted, "mysqld_row_lock_wait_seconds_total", "For how long statements waited for locks on rows.", "", scaled(1e-3, "Innodb_row_lock_time")),
		family(measured, "mysqld_row_lock_waiting", "How many statements wait for a lock on a row.", "", of("Innodb_row_lock_current_waits")),
		family(counted, "mysqld_rows_total", "Rows of InnoDB, by what was done to them.", "done",
			of("Innodb_rows_read", "read"), of("Innodb_rows_inserted", "inserted"), of("Innodb_rows_updated", "updated"), of("Innodb_rows_deleted", "deleted")),
		family(counted, "mysqld_disk_bytes_total", "Bytes that InnoDB read and wrote, its redo log included.", "direction",
			of("Innodb_data_read", "read"), of("Innodb_data_written", "written")),
		family(counted, "mysqld_syncs_total", "How often InnoDB had data or its redo log written through to the disk.", "", of("Innodb_data_fsyncs")),
		family(counted, "mysqld_temporary_tables_total", "Temporary tables that mysqld made by itself, by where.", "where",
			of("Created_tmp_tables", "anywhere"), of("Created_tmp_disk_tables", "disk")),
		family(counted, "mysqld_binlog_cache_total", "Transactions that were gathered for the binary log, and how many of them were too large for memory.", "where",
			of("Binlog_cache_use", "anywhere"), of("Binlog_cache_disk_use", "disk")),
		family(counted, "semisync_commits_total", "Commits of the local server, by whether replicas had acknowledged them when the client was answered.", "acknowledged",
			of("Rpl_semi_sync_source_yes_tx", "yes"), of("Rpl_semi_sync_source_no_tx", "no")),
		family(counted, "semisync_waits_total", "Commits of the local server that waited for an acknowledgement.", "", of("Rpl_semi_sync_source_tx_waits")),
		family(counted, "semisync_wait_seconds_total", "For how long commits of the local server waited for acknowledgements.", "", scaled(1e-6, "Rpl_semi_sync_source_tx_wait_time")),
		family(measured, "semisync_waiting", "Commits of the local server that wait for an acknowledgement.", "", of("Rpl_semi_sync_source_wait_sessions")),
	} {
		all = append(all, f...)
	}
	return all
}

// mysqld reads the figures of the local server when it is scraped. Those of one that does
// not answer are not there; mysqld_up says why.
type mysqld struct {
	figures []figure

	mu     sync.Mutex // held while mysqld is asked, so that it is asked once at a time
	read   func(ctx context.Context, status, variables []string) (map[string]float64, error)
	values map[string]float64
	at     time.Time
}

func newMysqld() *mysqld { return &mysqld{figures: mysqldFigures()} }

// Describe is part of prometheus.Collector.
func (m *mysqld) Describe(to chan<- *prometheus.Desc) {
	for _, f := range m.figures {
		to <- f.desc
	}
}

// Collect is part of prometheus.Collector.
func (m *mysqld) Collect(to chan<- prometheus.Metric) {
	values := m.now()
	for _, f := range m.figures {
		if value, known := values[f.from]; known {
			to <- f.metric(value)
		}
	}
}

func (m *mysqld) now() map[string]float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read == nil || time.Since(m.at) < statusFresh {
		return m.values
	}
	var status, variables []string
	for _, f := range m.figures {
		if name, ok := strings.CutPrefix(f.from, "@"); ok {
			variables = append(variables, name)
		} else {
			status = append(status, f.from)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	values, err := m.read(ctx, status, variables)
	if err != nil {
		values = nil // What it was says nothing of what it is.
	}
	m.values, m.at = values, time.Now()
	return values
}

// ReadMysqld has the figures of the local server be read by a function when somebody
// scrapes: status variables by their names, and system variables by theirs after an @.
func (r *Registry) ReadMysqld(read func(ctx context.Context, status, variables []string) (map[string]float64, error)) {
	r.mysqld.mu.Lock()
	defer r.mysqld.mu.Unlock()
	r.mysqld.read = read
}
