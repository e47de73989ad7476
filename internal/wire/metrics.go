package wire

// MethodMetrics is the call by which a hub asks how a device fares now. It has no params and changes nothing; its result
// is the schema Metrics of the API.
const MethodMetrics = "metrics"
