package wire

import "testing"

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Target{
		"ssh": "ssh", "mqtt": "mqtt", "http": "http", "rescue": "rescue",
		"1883":                      "tcp:127.0.0.1:1883",
		"tcp:127.0.0.1:22":          "tcp:127.0.0.1:22",
		"tcp:[::ffff:10.0.0.1]:80":  "tcp:10.0.0.1:80", // a grant that denies 10.0.0.1 meets it
		"tcp:[::FFFF:a00:1]:80":     "tcp:10.0.0.1:80",
		"tcp:[0:0:0:0:0:0:0:1]:080": "tcp:[::1]:80",
		"tcp:NAS.Lan:80":            "tcp:nas.lan:80",
		"tcp:node1:80":              "tcp:node1:80",
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "SSH", "call:x", "0", "65536", "tcp:", "tcp::80", "tcp:x", "tcp:x:0", "tcp:x:65536", "tcp:x:http",
		"tcp:-x:80", "tcp:x y:80", "tcp:x/y:80", "tcp:$(x):80", "tcp:x\n:80", "tcp:[fe80::1%eth0]:80", "udp:1.1.1.1:53", "tcp:1.1.1.1:80:80",
		// what some resolvers read as an IPv4 address
		"tcp:127.1:22", "tcp:0x7f.1:22", "tcp:0x7f000001:22", "tcp:2130706433:22", "tcp:0177.0.0.1:22", "tcp:127.0.0.1.:22", "tcp:x.0X1:22"} {
		if got, err := ParseTarget(text); CodeOf(err) != Invalid {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
}
