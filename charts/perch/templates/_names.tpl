{{- define "perch.labels" -}}
app.kubernetes.io/part-of: perch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "perch.monitoringLabels" -}}
{{ include "perch.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name of what may stand beside that of another release. */}}
{{- define "perch.scoped" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{/* An image by its name: (dict "root" . "name" "serving"). */}}
{{- define "perch.image" -}}
{{- $image := .root.Values.image -}}
{{- $prefix := ternary (printf "%s/" .root.Values.global.imageRegistry) "" (ne .root.Values.global.imageRegistry "") -}}
{{- $digest := get $image.digests .name -}}
{{- if $digest -}}
{{ $prefix }}perch-{{ .name }}@{{ $digest }}
{{- else -}}
{{ $prefix }}perch-{{ .name }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- define "perch.registry" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ .Release.Name }}-mlflow.{{ .Release.Namespace }}.svc:5000
{{- else -}}
{{ .Values.mlflow.url }}
{{- end -}}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a pod. */}}
{{- define "perch.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "perch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "perch.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where a pod may run: (dict "root" . "tolerations" list); the tolerations are beside those of the settings. */}}
{{- define "perch.scheduling" -}}
{{- $scheduling := .root.Values.scheduling }}
{{- with $scheduling.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $scheduling.tolerations (.tolerations | default list) }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $scheduling.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* While its node is away, nobody watches the canaries: it goes to another one after 30 s, not after 5 minutes. */}}
{{- define "perch.hurry" -}}
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
{{- end }}

{{/* The routes of files/alertmanager.yaml in the words of an AlertmanagerConfig, which has matchers as objects: JSON. */}}
{{- define "perch.routes" -}}
{{- $text := pick (.Files.Get "files/alertmanager.yaml" | fromYaml) "route" "inhibit_rules" | toJson -}}
{{- $matcher := `"(\w+) (=~|!~|!=|=) \\"([^"\\]*)\\""` -}}
{{- $text = regexReplaceAll $matcher $text `{"name":"${1}","matchType":"${2}","value":"${3}"}` -}}
{{- $words := dict "inhibit_rules" "inhibitRules" "source_matchers" "sourceMatch" "target_matchers" "targetMatch"
  "group_by" "groupBy" "group_wait" "groupWait" "group_interval" "groupInterval" "repeat_interval" "repeatInterval" -}}
{{- range $theirs, $ours := $words -}}
{{- $text = $text | replace (quote $theirs) (quote $ours) -}}
{{- end -}}
{{- $text -}}
{{- end }}
