package handlers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hookMetrics are the figures of outgoing webhooks, read when they are asked for.
type hookMetrics struct{ api *api }

var (
	hookWaiting  = prometheus.NewDesc("adit_hook_deliveries_waiting", "Webhook deliveries that are not finished.", nil, nil)
	hookDead     = prometheus.NewDesc("adit_hook_deliveries_dead", "Webhook deliveries that were given up and are kept.", nil, nil)
	hookOldest   = prometheus.NewDesc("adit_hook_oldest_seconds", "Age of the oldest webhook delivery that is not finished.", nil, nil)
	hookBreakers = prometheus.NewDesc("adit_hook_endpoints", "Webhook endpoints, by the state of their breaker, or paused or disabled.", []string{"state"}, nil)
	hookAttempts = prometheus.NewDesc("adit_hook_attempts_total", "Webhook attempts, by outcome: delivered, failed; dead counts deliveries given up.", []string{"outcome"}, nil)
	hookRefused  = prometheus.NewDesc("adit_hook_refused_total", "Messages and events for which a webhook queue had no room.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *hookMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hookWaiting, hookDead, hookOldest, hookBreakers, hookAttempts, hookRefused} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *hookMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := m.api.Outgoing.Stats(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(hookWaiting, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(hookWaiting, float64(s.Waiting))
	gauge(hookDead, float64(s.Dead))
	gauge(hookOldest, s.Oldest.Seconds())
	for state, n := range s.Breakers {
		gauge(hookBreakers, float64(n), state)
	}
	counter(hookAttempts, s.Delivered, "delivered")
	counter(hookAttempts, s.Failed, "failed")
	counter(hookAttempts, s.GaveUp, "dead")
	counter(hookRefused, s.Refused)
}
