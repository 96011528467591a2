output "gateway" {
  description = "The Gateway, as spec.cluster.gateway of a ModelService names it."
  value       = "${helm_release.gateway.namespace}/kserve-ingress-gateway"
}

output "namespace" {
  description = "Where Perch itself runs."
  value       = helm_release.perch.namespace
}
