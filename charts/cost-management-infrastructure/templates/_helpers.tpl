{{- /* Labels that stand in immutable fields of releases of the older chart: nothing may be added. */ -}}
{{- define "cmi.identity" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cmi.selector" -}}
{{ include "cmi.identity" . }}
app.kubernetes.io/component: postgresql
{{- end }}

{{- /* Labels of an object. (dict "root" $ "component" "...") */ -}}
{{- define "cmi.labels" -}}
{{ include "cmi.identity" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: cost-management
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels of a pod: without version and chart, which would roll the database for nothing.
(dict "root" $ "component" "..." "more" podLabels) */ -}}
{{- define "cmi.podLabels" -}}
{{ include "cmi.identity" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: cost-management
{{- with merge (dict) (default dict .more) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "cmi.secretName" -}}
{{- default "postgres-credentials" .Values.postgresql.database.existingSecret -}}
{{- end }}

{{- /* The major version that the image's repository names, or nothing. */ -}}
{{- define "cmi.repositoryMajor" -}}
{{- regexFind "postgresql-[0-9]+" .Values.postgresql.image.repository | trimPrefix "postgresql-" -}}
{{- end }}

{{- define "cmi.major" -}}
{{- $named := include "cmi.repositoryMajor" . -}}
{{- with .Values.postgresql.major | toString -}}
{{ . }}
{{- else -}}
{{- if or $named (not $.Values.postgresql.image.repository) }}{{ default "13" $named }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* repository@digest, else repository:tag. */ -}}
{{- define "cmi.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end }}

{{- define "cmi.postgresqlImage" -}}
{{- $image := .Values.postgresql.image -}}
{{- $repository := default (printf "quay.io/sclorg/postgresql-%s-c9s" (include "cmi.major" .)) $image.repository -}}
{{- include "cmi.image" (dict "repository" $repository "tag" $image.tag "digest" $image.digest) -}}
{{- end }}

{{- define "cmi.openshift" -}}
{{- $said := .Values.podSecurity.openshift | toString -}}
{{- if eq $said "auto" -}}
{{- .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- else -}}
{{- $said -}}
{{- end -}}
{{- end }}

{{- /* Pod security as `restricted` asks. (dict "root" $ "uid" 26 "gid" 26 "fsGroup" 26) */ -}}
{{- define "cmi.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- if ne (include "cmi.openshift" .root) "true" }}
runAsUser: {{ .uid }}
runAsGroup: {{ .gid }}
{{- with .fsGroup }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}
{{- end }}

{{- define "cmi.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Where a pod may run. (its values) */ -}}
{{- define "cmi.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- /* An environment variable from a key of a Secret. (dict "name" N "secret" S "key" K) */ -}}
{{- define "cmi.fromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{- /* Where clients find the database: the Service, or the operator's own host; else nothing. */ -}}
{{- define "cmi.host" -}}
{{- if .Values.postgresql.enabled }}postgres{{ else }}{{ .Values.migration.database.host }}{{ end -}}
{{- end }}

{{- define "cmi.port" -}}
{{- if .Values.postgresql.enabled }}5432{{ else }}{{ .Values.migration.database.port }}{{ end -}}
{{- end }}

{{- /* postgresql.conf's further lines. */ -}}
{{- define "cmi.configuration" -}}
shared_preload_libraries = '{{ join "," .Values.postgresql.sharedPreloadLibraries }}'
max_connections = {{ .Values.postgresql.maxConnections }}
{{- if .Values.postgresql.tls.secretName }}
ssl = on
ssl_cert_file = '/etc/cost-management/tls/tls.crt'
ssl_key_file = '/etc/cost-management/tls/tls.key'
{{- end }}
{{- end }}
