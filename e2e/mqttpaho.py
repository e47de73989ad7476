"""Debian's python3-paho-mqtt for the end-to-end tests. The argument is JSON: {url, username, password, version, id, do}. do
is {say: [message]}, which publishes and ends, or {hear: {filter, qos, will}}, which prints "subscribed" and then a line for
each message."""

import json
import os
import sys
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

options = json.loads(sys.argv[1])
hear = options["do"].get("hear")
client = mqtt.Client(client_id=options["id"], protocol=options["version"], transport="websockets")  # clean_session is the default
client.username_pw_set(options["username"], options["password"])
url = urlsplit(options["url"])
client.ws_set_options(path=url.path)
client.tls_set(os.environ["SSL_CERT_FILE"])
if hear and hear["will"]:
    client.will_set(hear["will"], "gone", qos=1)


def connected(_client, _data, _flags, code, *_properties):
    if code != 0:
        print("refused:", code, file=sys.stderr)
        os._exit(1)
    if hear:
        client.subscribe(hear["filter"], qos=hear["qos"])


def subscribed(_client, _data, _mid, granted, *_properties):
    code = getattr(granted[0], "value", granted[0])
    if code > 2:
        print("refused:", code, file=sys.stderr)
        os._exit(1)
    print("subscribed")


client.on_connect = connected
client.on_subscribe = subscribed
client.on_message = lambda _client, _data, m: print(m.topic, m.qos, int(m.retain), m.payload.decode())
client.connect(url.hostname, url.port or 443)
if hear:
    client.loop_forever()
else:
    client.loop_start()
    for message in options["do"]["say"]:
        client.publish(message["topic"], message["payload"], message["qos"], message["retain"]).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()
