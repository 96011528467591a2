output "cluster" {
  description = "Name of the kind cluster."
  value       = module.cluster.name
}

output "kubeconfig" {
  description = "The command that makes its kube context."
  value       = "kind export kubeconfig --name ${module.cluster.name}"
}

output "gateway" {
  description = "The Gateway, as spec.cluster.gateway of a ModelService names it."
  value       = module.platform.gateway
}
