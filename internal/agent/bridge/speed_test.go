package bridge

import (
	"fmt"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
)

// What a bridge carries from one Mosquitto to another, as fast as it comes.
func BenchmarkBridge(b *testing.B) {
	for qos := byte(1); qos <= 2; qos++ {
		b.Run(fmt.Sprint("QoS", qos), func(b *testing.B) {
			r := newRig(b, nil, `s/# out 2 "" d/`)
			got := r.hub.Listen("d/#")
			home := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true, Inflight: 100})
			b.ResetTimer()
			go func() {
				for i := range b.N {
					_ = home.Enqueue(b.Context(), &mqtt.Publish{Topic: "s/a", Payload: fmt.Append(nil, i), QoS: qos}, func(mqtt.ReasonCode, error) {})
				}
			}()
			for range b.N {
				mqtttest.Next(b, got)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
