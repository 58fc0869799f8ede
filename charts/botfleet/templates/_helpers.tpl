{{- define "botfleet.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "botfleet.labels" -}}
app.kubernetes.io/part-of: botfleet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* (dict "root" $ "component" "controller") */ -}}
{{- define "botfleet.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- /* the same as a flow mapping */ -}}
{{- define "botfleet.match" -}}
{app.kubernetes.io/name: {{ .component }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
{{- end -}}

{{- /* (dict "root" $ "image" .Values.images.controller) */ -}}
{{- define "botfleet.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "botfleet.databaseSecret" -}}
{{- if .Values.database.evaluation.enabled -}}
{{ include "botfleet.name" . }}-database
{{- else -}}
{{ required "database.existingSecret is empty: name the Secret with the keys owner-url, controller-url and worker-url, or set database.evaluation.enabled=true" .Values.database.existingSecret }}
{{- end -}}
{{- end -}}

{{- define "botfleet.botDatabaseSecret" -}}
{{- if .Values.database.evaluation.enabled -}}
{{ include "botfleet.name" . }}-bot-database
{{- else -}}
{{ required "database.existingBotSecret is empty: name the Secret whose key url is the bots' database URL, or set database.evaluation.enabled=true" .Values.database.existingBotSecret }}
{{- end -}}
{{- end -}}

{{- define "botfleet.notificationSecret" -}}
{{ .Values.notifications.existingSecret | default (printf "%s-notifications" (include "botfleet.name" .)) }}
{{- end -}}

{{- define "botfleet.exchangeUrls" -}}
{{- if and .Values.sandbox.enabled (not .Values.bots.exchangeUrls) -}}
{{ dict "binance" (printf "http://%s-sandbox:8080" (include "botfleet.name" .)) | toJson }}
{{- else -}}
{{ .Values.bots.exchangeUrls | toJson }}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "class" "system" | "bot" | "bot-live" | "bot-holding"): a PriorityClass's name, "" for none.
       They are cluster-scoped, so the namespace is part of the name, and so is a word that no reserved name begins with. */ -}}
{{- define "botfleet.priorityClass" -}}
{{- $classes := .root.Values.priorityClasses -}}
{{- if $classes.create -}}
{{ list "botfleet" .root.Release.Namespace (include "botfleet.name" .root) .class | uniq | join "-" }}
{{- else -}}
{{ get $classes.existing (.class | replace "-l" "L" | replace "-h" "H") }}
{{- end -}}
{{- end -}}

{{- define "botfleet.systemPriority" -}}
{{- with include "botfleet.priorityClass" (dict "root" . "class" "system") }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "botfleet.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The Restricted Pod Security Standard. */ -}}
{{- define "botfleet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "botfleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* (dict "cidrs" .. "ports" ..) */ -}}
{{- define "botfleet.egress" -}}
- to: [{{ range $i, $cidr := .cidrs }}{{ if $i }}, {{ end }}{ipBlock: {cidr: {{ $cidr | quote }}}}{{ end }}]
  ports: [{{ range $i, $port := .ports }}{{ if $i }}, {{ end }}{port: {{ $port }}, protocol: TCP}{{ end }}]
{{- end -}}

{{- define "botfleet.dns" -}}
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}
