//go:build reference

package integration

import (
	"testing"

	"github.com/mysqlha/mysqlha/deploy/reference"
)

// One site for all that leaves it as it was.
func TestReferenceSiteShows(t *testing.T) {
	o := siteOptions(t)
	s := startSite(t, o)
	for _, look := range []struct {
		name string
		at   func(*testing.T, *reference.Site)
	}{
		{"the ports that are reached are those of the description", portsAreThoseOfTheDescription},
		{"the monitoring sees every host and every tier", theMonitoringSeesEveryHostAndEveryTier},
		{"a flood is limited and others are served", aFloodIsLimitedAndOthersAreServed},
		{"orders of a dead server are placed by another", ordersOfADeadServerArePlacedByAnother},
		{"the questions are answered as the page says", func(t *testing.T, s *reference.Site) { theQuestionsAreAnsweredAsThePageSays(t, o, s) }},
	} {
		t.Run(look.name, func(t *testing.T) { look.at(t, s) })
	}
}
