package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func env(more ...string) []string {
	return append([]string{"HOME=/root", "ADIT_URL=https://adit.example.com", "ADIT_SECRET=" + strings.Repeat("s", 32)}, more...)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c, err := Load(env("PORT=9000", "ADIT_TRUSTED_PROXIES=10.0.0.1, loopback", "ADIT_LOG=debug,json",
		"ADIT_URL=https://Adit.example.com:443/,https://other.example.com:8443"), false)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":9000" || c.Data != "./data" || c.LogLevel != "debug" || !c.LogJSON {
		t.Errorf("%+v", c)
	}
	if len(c.URLs) != 2 || c.URLs[0].String() != "https://adit.example.com" || c.URLs[1].Host != "other.example.com:8443" {
		t.Errorf("%v", c.URLs)
	}
	if len(c.TrustedProxies) != 3 || c.TrustedProxies[0] != netip.MustParsePrefix("10.0.0.1/32") {
		t.Errorf("%v", c.TrustedProxies)
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	c, err := Load(nil, true)
	if err != nil || c.Listen != "127.0.0.1:8080" {
		t.Errorf("%q, %v", c.Listen, err)
	}
}

// Where webhooks may go is opened by name, or on a laptop for the laptop itself.
func TestWebhookAllow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value string
		dev   bool
		want  string
	}{
		{"", false, "[]"}, {"", true, "[127.0.0.0/8 ::1/128]"}, {"10.1.2.3", true, "[10.1.2.3/32]"},
		{"loopback,192.168.1.0/24 fd12::1", false, "[127.0.0.0/8 ::1/128 192.168.1.0/24 fd12::1/128]"},
		{"private", false, "[10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 100.64.0.0/10]"},
	} {
		c, err := Load(env("ADIT_WEBHOOK_ALLOW="+test.value), test.dev)
		if got := fmt.Sprint(c.WebhookAllow); err != nil || got != test.want {
			t.Errorf("%q: %s %v", test.value, got, err)
		}
	}
}

// Rule 9: what is missing, empty or misspelled keeps the hub from starting.
func TestLoadFailsClosed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		says    string
	}{
		"no url":            {[]string{"ADIT_SECRET=x"}, "ADIT_URL: is missing"},
		"no secret":         {[]string{"ADIT_URL=https://a.example"}, "ADIT_SECRET: is missing"},
		"empty secret":      {[]string{"ADIT_URL=https://a.example", "ADIT_SECRET= "}, "ADIT_SECRET: is missing"},
		"short secret":      {[]string{"ADIT_URL=https://a.example", "ADIT_SECRET=" + strings.Repeat("s", 31)}, "ADIT_SECRET: 31 bytes are too few"},
		"misspelled":        {env("ADIT_TRUSTED_PROXY=10.0.0.0/8"), "ADIT_TRUSTED_PROXY: there is no such setting"},
		"not served yet":    {env("ADIT_SERVICE_DOMAIN=a.example"), "does not serve it yet"},
		"mqtt address":      {env("ADIT_MQTT_ADDR=1883"), "no address to listen on, such as :1883"},
		"mqtt's own port":   {env("ADIT_MQTT_ADDR=:20001", "ADIT_TCP_PORTS=20000-20999"), "20001, which is the hub's own (ADIT_MQTT_ADDR)"},
		"backend, scheme":   {env("ADIT_MQTT_BACKEND=http://u:p@b:1883"), "is no mqtt://USER:PASSWORD@HOST:PORT"},
		"backend, port":     {env("ADIT_MQTT_BACKEND=mqtt://u:p@b"), "each of the four"},
		"backend, password": {env("ADIT_MQTT_BACKEND=mqtt://u@b:1883"), "each of the four"},
		"backend, path":     {env("ADIT_MQTT_BACKEND=mqtt://u:p@b:1883/x"), "is no mqtt://"},
		"plain http":        {env("ADIT_URL=http://adit.example.com"), "only https"},
		"url with a path":   {env("ADIT_URL=https://a.example/adit"), "no address of a site"},
		"url without host":  {env("ADIT_URL=adit.example.com"), "no address of a site"},
		"an empty url":      {env("ADIT_URL=https://a.example,"), "no address of a site"},
		"port":              {env("PORT=http"), "no port number"},
		"port out of range": {env("PORT=70000"), "no port number"},
		"proxies":           {env("ADIT_TRUSTED_PROXIES=everybody"), "neither loopback nor private"},
		"webhooks":          {env("ADIT_WEBHOOK_ALLOW=intranet"), "ADIT_WEBHOOK_ALLOW: \"intranet\" is no address"},
		"ssh address":       {env("ADIT_SSH_ADDR=2222"), "no address to listen on"},
		"ssh port":          {env("ADIT_SSH_ADDR=:ssh"), "no address to listen on"},
		"log":               {env("ADIT_LOG=loud"), "no level"},
		"log format":        {env("ADIT_LOG=info,xml"), "no format"},
		"one port":          {env("ADIT_TCP_PORTS=20000"), "no range of ports"},
		"ports by a name":   {env("ADIT_TCP_PORTS=localhost:20000-20999"), "no range of ports"},
		"ports everywhere":  {env("ADIT_TCP_PORTS=:20000-20999"), "no range of ports"},
		"two ranges":        {env("ADIT_TCP_PORTS=20000-20999,21000-21999"), "no range of ports"},
		"port 0":            {env("ADIT_TCP_PORTS=0-10"), "no range of ports"},
		"ports too high":    {env("ADIT_TCP_PORTS=65000-70000"), "no range of ports"},
		"ports backwards":   {env("ADIT_TCP_PORTS=20999-20000"), "ends before it begins"},
		"the hub's port":    {env("PORT=20500", "ADIT_TCP_PORTS=20000-20999"), "20500, which is the hub's own (PORT)"},
		"the gate's port":   {env("ADIT_SSH_ADDR=:20001", "ADIT_TCP_PORTS=20000-20999"), "20001, which is the hub's own (ADIT_SSH_ADDR)"},
	} {
		_, err := Load(test.environ, false)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
	}
}

func TestMQTT(t *testing.T) {
	t.Parallel()
	c, err := Load(env("ADIT_MQTT_ADDR=127.0.0.1:1883", "ADIT_MQTT_BACKEND=mqtt://hub:p%40ss@broker.lan:1883"), false)
	if err != nil || c.MQTTListen != "127.0.0.1:1883" || c.MQTTBackend.Host != "broker.lan:1883" {
		t.Errorf("%+v %v", c, err)
	}
	// A password with a mistake in it is not printed into a journal.
	if _, err := Load(env("ADIT_MQTT_BACKEND=mqtt://hub:secr%et@b:1883"), false); err == nil || strings.Contains(err.Error(), "secr") {
		t.Errorf("%v", err)
	}
}

func TestTCPPorts(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "", "20000-20999": "127.0.0.1:20000-20999", "0.0.0.0:20000-20999": "0.0.0.0:20000-20999", "7-7": "127.0.0.1:7-7",
		"[::]:20000-20999": "[::]:20000-20999", "[::ffff:10.0.0.1]:1-9": "10.0.0.1:1-9",
	} {
		c, err := Load(env("ADIT_TCP_PORTS="+value), false)
		if err != nil || c.TCPPorts.String() != want {
			t.Errorf("%q: %q, %v", value, c.TCPPorts, err)
		}
	}
	p := TCPPorts{Address: netip.IPv6Loopback(), First: 20000, Last: 20001}
	if p.Has(19999) || !p.Has(20000) || !p.Has(20001) || p.Has(20002) || p.Len() != 2 {
		t.Errorf("%+v", p)
	}
	if none := (TCPPorts{}); none.Has(0) || none.Len() != 0 {
		t.Error("there are ports in no range")
	}
}
