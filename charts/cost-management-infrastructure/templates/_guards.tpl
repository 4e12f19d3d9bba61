{{- /* What a cluster, if we render against one, has in our namespace, and what may not be done to it.
`lookup` finds nothing offline; a list is empty there, but an (empty) list object online. */ -}}

{{- define "cmi.online" -}}
{{- if lookup "apps/v1" "StatefulSet" .Release.Namespace "" }}true{{ end -}}
{{- end }}

{{- /* The owner that Helm wrote on an object, or nothing. */ -}}
{{- define "cmi.owner" -}}
{{- with .metadata.annotations }}{{ index . "meta.helm.sh/release-name" }}{{ end -}}
{{- end }}

{{- /* Contradictions among the values, which a schema cannot say. */ -}}
{{- define "cmi.guardValues" -}}
{{- $postgresql := .Values.postgresql -}}
{{- $named := include "cmi.repositoryMajor" . -}}
{{- $major := $postgresql.major | toString -}}
{{- if and $named $major (ne $named $major) -}}
{{- fail (printf "\n\npostgresql.image.repository names PostgreSQL %s and postgresql.major says %s. Set both alike, or one of them.\n" $named $major) -}}
{{- end -}}
{{- if not (has "pg_stat_statements" $postgresql.sharedPreloadLibraries) -}}
{{- fail "\n\npostgresql.sharedPreloadLibraries lacks pg_stat_statements: koku's migrations pass without it, and its queries then fail. Add it.\n" -}}
{{- end -}}
{{- if and (not $postgresql.enabled) .Values.migration.database.host (not $postgresql.database.existingSecret) -}}
{{- fail (printf "\n\nmigration.database.host is %s, and nothing says how to log in there. Set postgresql.database.existingSecret to a Secret with the keys database, username and password.\n" .Values.migration.database.host) -}}
{{- end -}}
{{- if and $postgresql.enabled .Values.migration.database.host -}}
{{- fail (printf "\n\nmigration.database.host is %s, and this release brings a database of its own. Set postgresql.enabled=false to use yours, or leave migration.database.host empty.\n" .Values.migration.database.host) -}}
{{- end -}}
{{- end }}

{{- /* One release in a namespace: the names postgres and cost-mgmt-migration are the contract. */ -}}
{{- define "cmi.guardRelease" -}}
{{- range list (lookup "apps/v1" "StatefulSet" .Release.Namespace "postgres") (lookup "batch/v1" "CronJob" .Release.Namespace "cost-mgmt-migration") -}}
{{- if . -}}
{{- $owner := include "cmi.owner" . -}}
{{- if and $owner (ne $owner $.Release.Name) -}}
{{- fail (printf "\n\nNamespace %s already has the release %s of this chart (its %s %s). There is one in a namespace, because applications find it by the names postgres and postgres-credentials. Upgrade that one (helm upgrade %s ...), or choose another namespace.\n" $.Release.Namespace $owner .kind .metadata.name $owner) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Where a pod has its claim mounted, or nothing if that is the image's data folder.
(dict "pod" its spec "claims" names of volumes that are claims) */ -}}
{{- define "cmi.elsewhere" -}}
{{- $container := first .pod.containers -}}
{{- range .pod.containers }}{{ if eq .name "postgresql" }}{{ $container = . }}{{ end }}{{ end -}}
{{- $right := false -}}
{{- $places := list -}}
{{- range $container.volumeMounts -}}
{{- if has .name $.claims -}}
{{- if and (eq (trimSuffix "/" .mountPath) "/var/lib/pgsql/data") (not .subPath) (not .subPathExpr) -}}
{{- $right = true -}}
{{- else -}}
{{- $places = append $places .mountPath -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $right }}{{ default "no place at all" (join " and " $places) }}{{ end -}}
{{- end }}

{{- define "cmi.refuseElsewhere" -}}
{{- fail (printf "\n\n%s postgres in namespace %s has its volume mounted at %s, but the image keeps its data in /var/lib/pgsql/data: the database is in the container's own layer, and is lost when the pod is replaced, which this upgrade would do. Nothing was changed. Move the data onto the volume first:\n\n    costmgmt bootstrap --namespace %s --migrate-volume\n\nUntil then delete neither the pod nor the StatefulSet.\n" .kind .namespace .places .namespace) -}}
{{- end }}

{{- /* Data off the volume is never upgraded over, nor disabled, nor adopted. Only who copied it may
say so, for one StatefulSet as it then was: a rollback makes the word void. */ -}}
{{- define "cmi.guardData" -}}
{{- $namespace := .Release.Namespace -}}
{{- $set := lookup "apps/v1" "StatefulSet" $namespace "postgres" -}}
{{- $pod := lookup "v1" "Pod" $namespace "postgres-0" -}}
{{- $copied := false -}}
{{- if $set -}}
{{- $now := printf "%s.%d" $set.metadata.uid (int64 $set.metadata.generation) -}}
{{- $copied = eq $now (dig "annotations" "cost-management/data-on-volume" "" $set.metadata) -}}
{{- $claims := list -}}
{{- range $set.spec.volumeClaimTemplates }}{{ $claims = append $claims .metadata.name }}{{ end -}}
{{- range $set.spec.template.spec.volumes }}{{ if .persistentVolumeClaim }}{{ $claims = append $claims .name }}{{ end }}{{ end -}}
{{- $places := include "cmi.elsewhere" (dict "pod" $set.spec.template.spec "claims" $claims) -}}
{{- if and $places (not $copied) -}}
{{- include "cmi.refuseElsewhere" (dict "kind" "StatefulSet" "namespace" $namespace "places" $places) -}}
{{- end -}}
{{- end -}}
{{- if and $pod (not $copied) -}}
{{- $claims := list -}}
{{- range $pod.spec.volumes }}{{ if .persistentVolumeClaim }}{{ $claims = append $claims .name }}{{ end }}{{ end -}}
{{- $places := include "cmi.elsewhere" (dict "pod" $pod.spec "claims" $claims) -}}
{{- if $places -}}
{{- include "cmi.refuseElsewhere" (dict "kind" "The pod of" "namespace" $namespace "places" $places) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* A quantity as a number: the API server writes 20480Mi as 20Gi. */ -}}
{{- define "cmi.bytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit | default 0.0) -}}
{{- end }}

{{- /* What Kubernetes would refuse in its own words, in ours and before anything is touched. */ -}}
{{- define "cmi.guardImmutable" -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace "postgres" -}}
{{- if and .Values.postgresql.enabled $set -}}
{{- $ours := include "cmi.selector" . | fromYaml -}}
{{- if ne (toJson $ours) (toJson $set.spec.selector.matchLabels) -}}
{{- fail (printf "\n\nStatefulSet postgres selects its pods by %s, this rendering by %s, and that cannot be changed. Set nameOverride as that release was installed.\n" (toJson $set.spec.selector.matchLabels) (toJson $ours)) -}}
{{- end -}}
{{- with $set.spec.volumeClaimTemplates -}}
{{- $claim := (first .).spec -}}
{{- $want := $.Values.postgresql.persistence -}}
{{- $has := $claim.resources.requests.storage -}}
{{- $hasClass := default "" $claim.storageClassName -}}
{{- $hasBytes := include "cmi.bytes" $has | float64 -}}
{{- $wantBytes := include "cmi.bytes" $want.size | float64 -}}
{{- if lt $wantBytes $hasBytes -}}
{{- fail (printf "\n\nThe volume was made with %s, and postgresql.persistence.size is %s: a volume does not shrink. Nothing was changed. To a smaller one: back up (costmgmt backup), install anew, restore (costmgmt restore). To stay: postgresql.persistence.size=%[1]s.\n" $has $want.size) -}}
{{- else if gt $wantBytes $hasBytes -}}
{{- fail (printf "\n\nThe volume was made with %s, and postgresql.persistence.size is %s: a StatefulSet's claims cannot be changed by an upgrade. Nothing was changed. To grow, where the storage class allows it:\n\n    kubectl -n %[3]s patch pvc postgresql-data-postgres-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%[2]s\"}}}}'\n    kubectl -n %[3]s delete statefulset postgres --cascade=orphan\n    helm upgrade ... (again; the pod and its data stay)\n\nOn another class: back up, install anew, restore. To stay: postgresql.persistence.size=%[1]s.\n" $has $want.size $.Release.Namespace) -}}
{{- end -}}
{{- if ne $hasClass $want.storageClassName -}}
{{- fail (printf "\n\nThe volume is of storage class %q, and postgresql.persistence.storageClassName is %q: a volume cannot change its class. Nothing was changed. Set it as it was, or back up, install anew with the other class, and restore.\n" $hasClass $want.storageClassName) -}}
{{- end -}}
{{- if ne (toJson $claim.accessModes) (toJson $want.accessModes) -}}
{{- fail (printf "\n\nThe volume was made with accessModes %s, and postgresql.persistence.accessModes is %s: that cannot be changed. Set it as it was.\n" (toJson $claim.accessModes) (toJson $want.accessModes)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The data of a server that runs is of its image's major version, and another one cannot read it:
the pod would be replaced, and its init container would refuse. A pod that is not ready has nothing
to lose, and may be on its way back. */ -}}
{{- define "cmi.guardMajor" -}}
{{- $pod := lookup "v1" "Pod" .Release.Namespace "postgres-0" -}}
{{- if and .Values.postgresql.enabled $pod -}}
{{- $ready := false -}}
{{- range dig "status" "conditions" list $pod }}{{ if and (eq .type "Ready") (eq .status "True") }}{{ $ready = true }}{{ end }}{{ end -}}
{{- $image := "" -}}
{{- range $pod.spec.containers }}{{ if eq .name "postgresql" }}{{ $image = default "" .image }}{{ end }}{{ end -}}
{{- $has := regexFind "postgresql-[0-9]+" $image | trimPrefix "postgresql-" -}}
{{- $want := regexFind "postgresql-[0-9]+" (include "cmi.postgresqlImage" .) | trimPrefix "postgresql-" -}}
{{- if and $ready $has $want (ne $has $want) -}}
{{- fail (printf "\n\nThe database in namespace %s runs PostgreSQL %s, and this rendering's image is PostgreSQL %s, which cannot read its data. Nothing was changed. To another major version: back up (costmgmt backup), install anew, restore (costmgmt restore). To stay: postgresql.major=%[2]s (or the former image).\n" .Release.Namespace $has $want) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Who made the Secret of this release; noted on the StatefulSet. */ -}}
{{- define "cmi.secretBy" -}}
{{- ternary "operator" "chart" (not (empty .Values.postgresql.database.existingSecret)) -}}
{{- end }}

{{- /* Helm removes what an earlier revision rendered and this one does not: the Secret that the
operator put in its place as well, unless that says that it is kept. */ -}}
{{- define "cmi.guardSecret" -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace "postgres" -}}
{{- if and .Release.IsUpgrade $set (eq .Values.postgresql.database.existingSecret "postgres-credentials") -}}
{{- if ne "operator" (dig "annotations" "cost-management/secret-by" "" $set.metadata) -}}
{{- with lookup "v1" "Secret" .Release.Namespace "postgres-credentials" -}}
{{- if ne "keep" (dig "annotations" "helm.sh/resource-policy" "" .metadata) -}}
{{- fail (printf "\n\nSecret postgres-credentials in namespace %s would be removed by this upgrade: an earlier revision of release %s rendered it, and with postgresql.database.existingSecret this one does not. Nothing was changed. Keep it, and upgrade again:\n\n    kubectl -n %[1]s annotate secret postgres-credentials helm.sh/resource-policy=keep\n" $.Release.Namespace $.Release.Name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "cmi.guards" -}}
{{- include "cmi.guardValues" . -}}
{{- if include "cmi.online" . -}}
{{- include "cmi.guardRelease" . -}}
{{- include "cmi.guardData" . -}}
{{- include "cmi.guardMajor" . -}}
{{- include "cmi.guardImmutable" . -}}
{{- include "cmi.guardSecret" . -}}
{{- end -}}
{{- end }}
