{{/* Every flow that is allowed. Whatever is not here is denied to our pods. */}}
{{- define "perch.flows" -}}
- {from: operator, to: api-server, ports: {{ include "perch.apiServerPorts" . }}}
- {from: test, to: api-server, ports: {{ include "perch.apiServerPorts" . }}}
- {from: operator, to: dns, ports: [53/UDP, 53/TCP]}
- {from: test, to: dns, ports: [53/UDP, 53/TCP]}
- {from: serving, to: dns, ports: [53/UDP, 53/TCP]}
- {from: judge, to: dns, ports: [53/UDP, 53/TCP]}
- {from: operator, to: registry, ports: [{{ include "perch.registryPort" . }}/TCP]}
- {from: test, to: registry, ports: [{{ include "perch.registryPort" . }}/TCP]}
- {from: serving, to: registry, ports: [{{ include "perch.registryPort" . }}/TCP]}  # a pod fetches its model
- {from: judge, to: registry, ports: [{{ include "perch.registryPort" . }}/TCP]}  # reports
- {from: gateway, to: serving, ports: [8080/TCP, 8081/TCP]}  # live requests, and copies
- {from: operator, to: serving, ports: [8080/TCP]}  # counters
- {from: prometheus, to: serving, ports: [8080/TCP]}
- {from: serving, to: collector, ports: [8090/TCP]}  # predictions
- {from: judge, to: collector, ports: [8090/TCP]}  # windows, and what it says of them
- {from: gateway, to: collector, ports: [8090/TCP]}  # outcomes
- {from: operator, to: collector, ports: [8090/TCP]}  # labels
- {from: prometheus, to: collector, ports: [8090/TCP]}
- {from: prometheus, to: operator, ports: [8082/TCP{{ with .Values.operator.alertsTokenSecret }}, 8083/TCP{{ end }}]}  # and alerts
{{- if .Values.operator.notifySecret }}
- {from: operator, to: webhook, ports: [443/TCP]}  # anywhere: a policy knows no names
{{- end }}
{{- if .Values.training.enabled }}
- {from: training, to: api-server, ports: {{ include "perch.apiServerPorts" . }}}  # what a step made, and the wish
- {from: training, to: dns, ports: [53/UDP, 53/TCP]}
- {from: training, to: registry, ports: [{{ include "perch.registryPort" . }}/TCP]}
- {from: training, to: training, ports: [1024-65535/TCP]}  # Dask's scheduler and workers, among themselves
- {from: training, to: data, ports: [{{ range $i, $port := .Values.networkPolicies.dataPorts }}{{ if $i }}, {{ end }}{{ $port }}/TCP{{ end }}]}
{{- end }}
{{- end }}

{{/* Both ends of the flows: who they are, and whose pods: the chart's, those of the services, or foreign ones. */}}
{{- define "perch.ends" -}}
{{- $chart := printf "{matchLabels: {kubernetes.io/metadata.name: %s}}" .Release.Namespace -}}
{{- $services := "{}" -}}
{{- with .Values.operator.watch -}}
{{- $services = printf "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: %s}]}" (toJson .) -}}
{{- end -}}
operator:
  in: chart
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-operator, app.kubernetes.io/instance: {{ .Release.Name }}}}
  namespaceSelector: {{ $chart }}
test:
  in: chart
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-test, app.kubernetes.io/instance: {{ .Release.Name }}}}
  namespaceSelector: {{ $chart }}
serving:
  in: services
  podSelector: {matchExpressions: [{key: perch.dev/version, operator: Exists}]}
  namespaceSelector: {{ $services }}
collector:
  in: services
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-collector}}
  namespaceSelector: {{ $services }}
judge:
  in: services
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-judge}}
  namespaceSelector: {{ $services }}
training:
  in: training
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-training}}
  namespaceSelector: {{ $services }}
data: {}
webhook: {}
registry:
  {{- if .Values.mlflow.enabled }}
  in: chart
  podSelector: {matchLabels: {app.kubernetes.io/name: perch-mlflow, app.kubernetes.io/instance: {{ .Release.Name }}}}
  namespaceSelector: {{ $chart }}
  {{- end }}
gateway:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .Values.networkPolicies.gatewayNamespace }}}}
prometheus:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .Values.networkPolicies.prometheusNamespace }}}}
dns:
  podSelector: {matchLabels: {k8s-app: kube-dns}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
api-server:
  {{- with .Values.networkPolicies.apiServer.cidr }}
  ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
{{- end }}

{{- define "perch.apiServerPorts" -}}
[{{ range $i, $port := .Values.networkPolicies.apiServer.ports }}{{ if $i }}, {{ end }}{{ $port }}/TCP{{ end }}]
{{- end }}

{{- define "perch.registryPort" -}}
{{- $url := urlParse (include "perch.registry" .) -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{/* Our ends of the flows, in one namespace: (dict "root" $ "in" "services" "namespace" "shop"). */}}
{{- define "perch.policies" -}}
{{- $root := .root -}}
{{- $in := .in -}}
{{- $namespace := .namespace -}}
{{- $ends := include "perch.ends" $root | fromYaml -}}
{{- range include "perch.flows" $root | fromYamlArray -}}
{{- $flow := . -}}
{{- range $direction, $sides := dict "in" (list .to .from) "out" (list .from .to) -}}
{{- $ours := get $ends (first $sides) | default dict -}}
{{- $theirs := get $ends (last $sides) | default dict -}}
{{- $peer := omit $theirs "in" -}}
{{- if and (has (get $ours "in") (list "services" "training")) (eq (get $ours "in") (get $theirs "in" | default "")) -}}
{{- $peer = omit $peer "namespaceSelector" -}}  {{/* of the same namespace */}}
{{- end -}}
{{- if eq (get $ours "in" | default "") $in }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "perch.scoped" $root }}-{{ $flow.from }}-to-{{ $flow.to }}-{{ $direction }}
  namespace: {{ $namespace }}
  labels: {{- include "perch.labels" $root | nindent 4 }}
spec:
  podSelector: {{ toJson $ours.podSelector }}
  policyTypes: [{{ ternary "Ingress" "Egress" (eq $direction "in") }}]
  {{ ternary "ingress" "egress" (eq $direction "in") }}:
  - ports:
    {{- range $flow.ports }}
    {{- $ends := splitList "-" (first (splitList "/" .)) }}
    - {port: {{ first $ends }}{{ if gt (len $ends) 1 }}, endPort: {{ last $ends }}{{ end }}, protocol: {{ last (splitList "/" .) }}}
    {{- end }}
    {{- with $peer }}
    {{ ternary "from" "to" (eq $direction "in") }}:
    - {{ toJson . }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
