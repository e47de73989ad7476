package wire

// MethodMQTT is the call by which a hub asks an agent how its MQTT fares: listeners, things, bridges. Its params are {}; its
// result is the schema AgentMQTT of the API.
const MethodMQTT = "mqtt"
