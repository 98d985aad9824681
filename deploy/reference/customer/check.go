package customer

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Found is what the database has of the orders that were acknowledged.
type Found struct {
	Acknowledged int
	// Lost are acknowledged orders that are not there, or are not charged; Doubled those
	// of anybody, acknowledged or not, that are there or charged more than once.
	Lost, Doubled []string
}

// OK tells whether every acknowledged order is there once.
func (f Found) OK() bool { return len(f.Lost) == 0 && len(f.Doubled) == 0 }

// String says it in a line.
func (f Found) String() string {
	text := fmt.Sprintf("%d orders acknowledged, %d lost, %d doubled", f.Acknowledged, len(f.Lost), len(f.Doubled))
	const most = 5
	if !f.OK() {
		text += fmt.Sprintf("; lost: %s; doubled: %s", strings.Join(f.Lost[:min(most, len(f.Lost))], " "), strings.Join(f.Doubled[:min(most, len(f.Doubled))], " "))
	}
	return text
}

// Check compares what was acknowledged with a server's own tables.
func Check(ctx context.Context, db *sql.DB, acks []Ack) (Found, error) {
	placed, err := counts(ctx, db, "SELECT id, COUNT(*) FROM orders GROUP BY id")
	if err != nil {
		return Found{}, fmt.Errorf("reading back the orders: %w", err)
	}
	charged, err := counts(ctx, db, "SELECT order_id, COUNT(*) FROM charges GROUP BY order_id")
	if err != nil {
		return Found{}, fmt.Errorf("reading back the charges: %w", err)
	}
	return compare(acks, placed, charged), nil
}

func compare(acks []Ack, placed, charged map[string]int) Found {
	f := Found{Acknowledged: len(acks)}
	for _, a := range acks {
		if placed[a.ID] == 0 || charged[a.ID] == 0 {
			f.Lost = append(f.Lost, a.ID)
		}
	}
	for id, n := range placed {
		if n > 1 || charged[id] > 1 {
			f.Doubled = append(f.Doubled, id)
		}
	}
	for id, n := range charged {
		if n > 1 && placed[id] == 0 {
			f.Doubled = append(f.Doubled, id)
		}
	}
	slices.Sort(f.Lost)
	slices.Sort(f.Doubled)
	return f
}

func counts(ctx context.Context, db *sql.DB, query string) (map[string]int, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[string]int)
	for rows.Next() {
		var id string
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return nil, err
		}
		found[id] = n
	}
	return found, rows.Err()
}
