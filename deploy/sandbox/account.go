package sandbox

import (
	"context"
	"fmt"

	"github.com/mysqlha/mysqlha/config"
)

// createApp makes the applications' schema and account at the primary, as an
// administrator on its host would; a second time changes nothing.
func (s *Sandbox) createApp(ctx context.Context, primary string) error {
	password, err := config.ReadSecret(s.layout.path("app.password"))
	if err != nil {
		return fmt.Errorf("making the applications' account: %w", err)
	}
	db, err := s.OpenAdmin(primary)
	if err != nil {
		return fmt.Errorf("making the applications' account: %w", err)
	}
	defer db.Close() // Nothing of it is needed any more.
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS " + AppSchema,
		// The password is of our own making and has letters and digits only.
		"CREATE USER IF NOT EXISTS '" + AppUser + "'@'%' IDENTIFIED BY '" + password + "' REQUIRE SSL",
		"GRANT ALL ON " + AppSchema + ".* TO '" + AppUser + "'@'%'",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("making the applications' account at %s: %w", primary, err)
		}
	}
	return nil
}
