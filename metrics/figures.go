package metrics

import "github.com/prometheus/client_golang/prometheus"

// figure is one series that is read when somebody scrapes.
type figure struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string
	// from is where its value comes from, in the words of that source.
	from string
	// scale makes the unit of the metric of that of the source, 0 for 1.
	scale float64
}

func (f figure) metric(value float64) prometheus.Metric {
	if f.scale != 0 {
		value *= f.scale
	}
	return prometheus.MustNewConstMetric(f.desc, f.kind, value, f.labels...)
}

// family is the figures of one metric.
func family(kind prometheus.ValueType, name, help string, label string, of ...figure) []figure {
	var labels []string
	if label != "" {
		labels = []string{label}
	}
	desc := described(name, help, labels...)
	for i := range of {
		of[i].desc, of[i].kind = desc, kind
	}
	return of
}

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// of is the series of a family with a value of its label, or without a label.
func of(from string, label ...string) figure { return figure{from: from, labels: label} }

// scaled is of with another unit.
func scaled(by float64, from string, label ...string) figure {
	return figure{from: from, labels: label, scale: by}
}
