{{/* What the pods of `helm test` have in common, and the objects that give them rights. All go when they have passed. */}}
{{- define "perch.testPod" -}}
labels:
  app.kubernetes.io/name: perch-test
  {{- include "perch.labels" . | nindent 2 }}
annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
{{- end }}

{{- define "perch.testRight" -}}
labels: {{- include "perch.labels" . | nindent 2 }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-weight: "-1"  # before the pod
  helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"
{{- end }}

{{- define "perch.testSpec" -}}
restartPolicy: Never
securityContext: {{- include "perch.podSecurity" . | nindent 2 }}
{{- include "perch.pullSecrets" . }}
{{- include "perch.scheduling" (dict "root" .) }}
volumes:
- {name: tmp, emptyDir: {sizeLimit: 16Mi}}
containers:
- name: ask
  image: {{ include "perch.image" (dict "root" . "name" "operator") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  resources: {requests: {cpu: 50m, memory: 128Mi}, limits: {memory: 256Mi}}
  securityContext: {{- include "perch.containerSecurity" . | nindent 4 }}
  volumeMounts: [{name: tmp, mountPath: /tmp}]
{{- end }}
