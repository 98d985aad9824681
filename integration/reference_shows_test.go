//go:build reference

package integration

import (
	"testing"

	"github.com/mysqlha/mysqlha/deploy/reference"
)

// One site for all that is only looked at.
func TestReferenceSiteShows(t *testing.T) {
	s := startSite(t, siteOptions(t))
	for _, look := range []struct {
		name string
		at   func(*testing.T, *reference.Site)
	}{
		{"the ports that are reached are those of the description", portsAreThoseOfTheDescription},
		{"the monitoring sees every host and every tier", theMonitoringSeesEveryHostAndEveryTier},
		{"a flood is limited and others are served", aFloodIsLimitedAndOthersAreServed},
	} {
		t.Run(look.name, func(t *testing.T) { look.at(t, s) })
	}
}
