package handlers

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the hub's own, in a registry of their own.
type metrics struct {
	handler  http.Handler
	requests *prometheus.CounterVec
}

func newMetrics(a *api) *metrics {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "adit_http_requests_total", Help: "Requests answered, by method, route and status.",
	}, []string{"method", "route", "status"})}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "adit_streams", Help: "Streams that run now."},
			func() float64 { return float64(len(a.Tunnel.Streams())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "adit_devices", Help: "Registered devices."},
			func() float64 { return float64(len(a.Gate.Policy().Devices)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "adit_devices_online", Help: "Devices with a live link."},
			a.countOnline),
	)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

func (a *api) countOnline() float64 {
	n := 0
	for id := range a.Gate.Policy().Devices {
		if a.Tunnel.Online(id) {
			n++
		}
	}
	return float64(n)
}

// request counts one; methods are the router's, so strangers cannot make new series.
func (m *metrics) request(method, route string, status int) {
	if route == "none" {
		method = "any"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
}

func (a *api) metrics(c echo.Context) error {
	a.metered.handler.ServeHTTP(c.Response(), c.Request())
	return nil
}
