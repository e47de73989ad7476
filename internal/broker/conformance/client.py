"""Speaks with a hub by paho-mqtt: VERSION (3, 4, 5) TRANSPORT (tcp, websockets) HOST:PORT USER PASSWORD UNIQUE."""
import queue
import sys

import paho.mqtt.client as mqtt

version, transport, address, user, password, unique = sys.argv[1:]
host, port = address.rsplit(":", 1)


def connect(name, will=None):
    """A client with a queue of what it receives, as (qos, topic, payload, retained)."""
    args = {"client_id": unique + name, "protocol": int(version), "transport": transport}
    if version != "5":
        args["clean_session"] = True
    if hasattr(mqtt, "CallbackAPIVersion"):
        args["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
    client = mqtt.Client(**args)
    client.username_pw_set(user, password)
    if transport == "websockets":
        client.ws_set_options(path="/mqtt", headers={"Origin": "http://localhost:" + port})  # else https, whatever it speaks
    if will:
        client.will_set(will, "gone", 0, False)
    client.got, client.answers = queue.Queue(), queue.Queue()
    client.on_message = lambda c, _, m: c.got.put((m.qos, m.topic, m.payload.decode(), m.retain))
    client.on_connect = lambda c, _, flags, code, *more: c.answers.put(int(getattr(code, "value", code)))
    client.on_subscribe = lambda c, _, mid, granted, *more: c.answers.put([int(getattr(q, "value", q)) for q in granted])
    client.connect(host, int(port), 30)
    client.loop_start()
    code = client.answers.get(timeout=60)
    assert code == 0, code
    return client


def subscribe(client, topic, qos):
    client.subscribe(topic, qos)
    granted = client.answers.get(timeout=60)
    assert granted == [qos], granted


def publish(client, topic, payload, qos=1, retain=False):
    client.publish(topic, payload, qos, retain).wait_for_publish()


def wants(client, *want):
    got = client.got.get(timeout=60)
    assert got == want, (got, want)


a, b = connect("a"), connect("b", unique + "/will")
subscribe(a, unique + "/#", 2)
for qos in range(3):
    publish(b, unique + "/t", str(qos), qos)
    wants(a, qos, unique + "/t", str(qos), False)
publish(b, unique + "/kept", "state", 1, True)
wants(a, 1, unique + "/kept", "state", False)
c = connect("c")
subscribe(c, unique + "/kept", 1)
wants(c, 1, unique + "/kept", "state", True)

sock = b.socket()  # cut, without DISCONNECT
b.loop_stop()
sock.close()
wants(a, 0, unique + "/will", "gone", False)

d, e = connect("d"), connect("e")
for member in d, e:
    subscribe(member, "$share/" + unique + "/" + unique + "/shared", 1)
for i in range(10):
    publish(a, unique + "/shared", str(i))
got = [[member.got.get(timeout=60)[2] for _ in range(5)] for member in (d, e)]
assert sorted(got[0] + got[1]) == [str(i) for i in range(10)], got

for client in a, c, d, e:
    client.disconnect()
    client.loop_stop()
print("all done")
