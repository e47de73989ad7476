package handlers

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/aditdev/adit/internal/messaging"
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
		a.mqttGauge("adit_mqtt_clients", "MQTT clients connected now.", func(s messaging.Stats) float64 { return float64(s.Clients) }),
		a.mqttGauge("adit_mqtt_sessions", "MQTT sessions, connected or kept.", func(s messaging.Stats) float64 { return float64(s.Sessions) }),
		a.mqttGauge("adit_mqtt_retained", "Retained messages.", func(s messaging.Stats) float64 { return float64(s.Retained) }),
		a.mqttCounter("adit_mqtt_received_total", "MQTT messages received.", func(s messaging.Stats) float64 { return float64(s.Received) }),
		a.mqttCounter("adit_mqtt_sent_total", "MQTT messages sent.", func(s messaging.Stats) float64 { return float64(s.Sent) }),
		a.mqttCounter("adit_mqtt_unkept_total", "MQTT messages that were to be retained and had no room.", func(s messaging.Stats) float64 { return float64(s.Unkept) }),
		a.mqttCounter("adit_mqtt_dropped_total", "MQTT messages that a full queue or a limit cost.", func(s messaging.Stats) float64 { return float64(s.Dropped) }),
		&hookMetrics{api: a},
	)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

func (a *api) mqttGauge(name, help string, of func(messaging.Stats) float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return of(a.MQTT.Backend.Stats()) })
}

func (a *api) mqttCounter(name, help string, of func(messaging.Stats) float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return of(a.MQTT.Backend.Stats()) })
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
