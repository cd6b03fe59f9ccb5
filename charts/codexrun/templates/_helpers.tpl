{{- define "codexrun.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's in it once: release "codexrun" gives "codexrun". */}}
{{- define "codexrun.fullname" -}}
{{- $name := include "codexrun.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What a Deployment and a Service select by; never changes between versions. Call with (list $ "operator"). */}}
{{- define "codexrun.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "codexrun.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* Call with (list $ "operator"). */}}
{{- define "codexrun.labels" -}}
{{- $root := first . -}}
{{ include "codexrun.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: codexrun
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ include "codexrun.extraLabels" (list "commonLabels" .) }}
{{- end }}
{{- end }}

{{/* Labels of the values, none of which is the chart's own: selectors would miss their pods. Call with (list "commonLabels" LABELS). */}}
{{- define "codexrun.extraLabels" -}}
{{- range $name := last . | keys }}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|version|managed-by|part-of)|helm\\.sh/chart|codexrun\\.dev/.*)$" $name }}
{{- fail (printf "%s: %s is the chart's own label; leave it out" (first $) $name) }}
{{- end }}
{{- end }}
{{- toYaml (last .) }}
{{- end }}

{{/* Call with (list $ .Values.image). */}}
{{- define "codexrun.image" -}}
{{- $root := first . }}
{{- $image := last . }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/* Where model requests go. Without a model every run would fail, so the installation does. */}}
{{- define "codexrun.upstreamURL" -}}
{{- if .Values.model.upstreamURL }}
{{- .Values.model.upstreamURL }}
{{- else if .Values.demoModel.enabled }}
{{- printf "http://%s-demo-model/v1" (include "codexrun.fullname" .) }}
{{- else }}
{{- fail "no model is set: set model.upstreamURL (such as https://api.openai.com/v1) and model.existingSecret, or demoModel.enabled=true for the offline model" }}
{{- end }}
{{- end }}

{{- define "codexrun.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10000
runAsGroup: 10000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "codexrun.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{- define "codexrun.agentServiceAccount" -}}
{{- printf "%s-agent" (include "codexrun.fullname" .) }}
{{- end }}

{{/* The Secret with the api's token. */}}
{{- define "codexrun.apiTokenSecret" -}}
{{- default (printf "%s-api-token" (include "codexrun.fullname" .)) .Values.api.token.existingSecret }}
{{- end }}

{{/* Annotations of what makes the token before anything else of the release; call with the weight. */}}
{{- define "codexrun.tokenHook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* The name of an object of the cluster. A namespace and a release's name have no colon, so no two releases share one. */}}
{{- define "codexrun.clusterName" -}}
{{- $root := first . -}}
{{- printf "codexrun:%s:%s:%s" $root.Release.Namespace $root.Release.Name (last .) }}
{{- end }}

{{/* A container's environment: what the chart sets, and what the installation adds. Call with (list "operator" YAML .extraEnv). */}}
{{- define "codexrun.env" -}}
{{- $part := index . 0 }}
{{- $own := index . 1 }}
{{- $extra := index . 2 | default list }}
{{- $names := list }}
{{- range fromYamlArray $own }}
{{- $names = append $names .name }}
{{- end }}
{{- range $extra }}
{{- if has .name $names }}
{{- fail (printf "%s.extraEnv: %s is already set, by the chart or by another entry; leave it out here" $part .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- $own | trim }}
{{- with $extra }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a pod runs and what gives way to it. Call with (list $ "operator" .Values.operator). */}}
{{- define "codexrun.placement" -}}
{{- $root := index . 0 }}
{{- $part := index . 1 }}
{{- $values := index . 2 }}
{{- $spec := pick $values "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- range $key, $value := $spec }}
{{- if not $value }}
{{- $spec = omit $spec $key }}
{{- end }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
{{- $selector := dict "matchLabels" (include "codexrun.selectorLabels" (list $root $part) | fromYaml) }}
{{- $constraints := list }}
{{- range . }}
{{- if hasKey . "labelSelector" }}
{{- $constraints = append $constraints . }}
{{- else }}
{{- $constraints = append $constraints (set (deepCopy .) "labelSelector" $selector) }}
{{- end }}
{{- end }}
{{- $spec = set $spec "topologySpreadConstraints" $constraints }}
{{- end }}
{{- if $spec }}
{{- toYaml $spec }}
{{- end }}
{{- end }}

{{/* Where people reach the api: as told, or the first host of its Ingress. */}}
{{- define "codexrun.externalURL" -}}
{{- $ingress := .Values.ingress | default dict }}
{{- if .Values.api.externalURL }}
{{- .Values.api.externalURL }}
{{- else if and $ingress.enabled $ingress.hosts }}
{{- $host := first $ingress.hosts }}
{{- $secure := list }}
{{- range $ingress.tls }}
{{- $secure = concat $secure .hosts }}
{{- end }}
{{- printf "%s://%s" (ternary "https" "http" (has $host $secure)) $host }}
{{- end }}
{{- end }}
