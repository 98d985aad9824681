package replication

import (
	"context"
	"database/sql"
	"strconv"
)

// Figures reads status and system variables that are numbers, by their names, the latter
// with an @ before theirs in the answer. Those that the server does not have, and those
// that are no numbers, are not in it.
func (l *Local) Figures(ctx context.Context, status, variables []string) (map[string]float64, error) {
	figures := make(map[string]float64, len(status)+len(variables))
	// The tables of the performance schema lack the counters of statements.
	if err := l.numbers(ctx, figures, "", "SHOW GLOBAL STATUS", status); err != nil {
		return nil, err
	}
	return figures, l.numbers(ctx, figures, "@", "SHOW GLOBAL VARIABLES", variables)
}

// numbers adds those of the named variables that are numbers, which a statement shows.
func (l *Local) numbers(ctx context.Context, to map[string]float64, prefix, show string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	type pair struct{ name, value string }
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	pairs, err := queryAll(ctx, l.db, func(rows *sql.Rows) (p pair, err error) { return p, rows.Scan(&p.name, &p.value) },
		show+" WHERE Variable_name IN ("+marks(len(names))+")", args...)
	if err != nil {
		return l.wrap("read figures", err)
	}
	for _, p := range pairs {
		if value, err := strconv.ParseFloat(p.value, 64); err == nil {
			to[prefix+p.name] = value
		}
	}
	return nil
}
