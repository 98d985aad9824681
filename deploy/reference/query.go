package reference

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Sample is one series of an answer of Prometheus.
type Sample struct {
	// Labels are those of the series, its name among them as __name__.
	Labels map[string]string
	Value  float64
}

// Query asks the site's Prometheus for the value of an expression of PromQL at this
// moment.
func (s *Site) Query(ctx context.Context, expr string) ([]Sample, error) {
	return s.QueryAt(ctx, expr, time.Now())
}

// QueryAt asks for the value that an expression had at a moment.
func (s *Site) QueryAt(ctx context.Context, expr string, at time.Time) ([]Sample, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	asked := url.Values{"query": {expr}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}
	if err := s.Prometheus(ctx, "/api/v1/query?"+asked.Encode(), &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	all := make([]Sample, 0, len(answer.Result))
	for _, r := range answer.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: the answer has the value %v", expr, r.Value)
		}
		all = append(all, Sample{r.Metric, value})
	}
	return all, nil
}
